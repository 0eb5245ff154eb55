"""`manage.py demo`: the main job with a Celery worker inside this process; the exit status tells whether it worked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.celery import app
from config.demo import main_job, prepare
from config.management.commands.serve import EmbeddedWorker
from executions.services import process

START_S = 30.0
"""How long the worker may take until it claims executions."""


class Command(BaseCommand):
    help = "Load the sample if there is no program, execute its programs and show each step with its figures."

    def handle(self, **options: Any) -> None:
        prepare(self.stdout)
        with _worker():
            worked = main_job(self.stdout)
        if not worked:
            raise CommandError("The demonstration did not do what it says.")


@contextmanager
def _worker() -> Iterator[None]:
    worker = EmbeddedWorker(app)
    worker.start()
    try:
        _wait_for_claims()
        yield
    finally:
        worker.stop()


def _wait_for_claims() -> None:
    give_up_at = time.monotonic() + START_S
    while not ((here := process.present()) and here.is_claiming):
        if time.monotonic() > give_up_at:
            raise CommandError(f"The worker did not start within {START_S:.0f} s.")
        time.sleep(0.02)
