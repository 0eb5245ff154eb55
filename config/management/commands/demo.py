"""`manage.py demo`: the main job without serving; the exit status tells whether it worked."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.demo import main_job, prepare


class Command(BaseCommand):
    help = "Load the sample if there is no program, execute its programs and show each step with its figures."

    def handle(self, **options: Any) -> None:
        prepare(self.stdout)
        if not main_job(self.stdout):
            raise CommandError("The demonstration did not do what it says.")
