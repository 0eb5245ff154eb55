"""`manage.py reprice --user ADMIN --since MOMENT --until MOMENT [--language-model NAME] [--program NAME] [--apply]`"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from executions.models import Repricing
from executions.services.repricing import apply_repricing, reprice, work_repricings
from mlops.errors import DomainError
from mlops.models import LanguageModel, User
from mlops.moments import moment_of
from mlops.money import as_decimal
from mlops.types import PICO_PER_USD, JobState

POLL_S = 0.5


class Command(BaseCommand):
    help = "Show by how much the costs of executions differ from the price book; with --apply make it true afterwards."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="the admin who asks")
        parser.add_argument("--since", type=_moment, required=True, help="ISO 8601 with time zone")
        parser.add_argument("--until", type=_moment, required=True, help="exclusive")
        parser.add_argument("--language-model", help="as provider/model; default: all")
        parser.add_argument("--program", default="", help="a name, for all its versions; default: all")
        parser.add_argument("--apply", action="store_true", help="make the difference true that was shown")
        parser.add_argument("--refund-credits", action="store_true", help="give back what was charged too much")

    def handle(self, *args: Any, **options: Any) -> None:
        actor, name = User.objects.filter(username=options["user"]).first(), options["language_model"]
        model = LanguageModel.objects.filter(name=name).first() if name else None
        if actor is None or (name and model is None):
            raise CommandError(_("There is no such user or language model."))
        shown = self._done(
            lambda: reprice(
                actor=actor,
                since=options["since"],
                until=options["until"],
                language_model=model,
                program=options["program"],
                refunds_credits=options["refund_credits"],
            )
        )
        self._tell(shown)
        if options["apply"] and shown.changed:
            self._done(lambda: apply_repricing(actor=actor, repricing=shown))
            self.stdout.write(_("Applied."))

    def _done(self, start: Callable[[], Repricing]) -> Repricing:
        """Start a repricing and work here, unless a worker was faster; its end."""
        try:
            job = start()
        except DomainError as error:
            raise CommandError(error.message) from None
        while not job.is_terminal:
            if not work_repricings():
                time.sleep(POLL_S)
            job = Repricing.objects.get(pk=job.pk)
        if job.state != JobState.COMPLETED:
            raise CommandError(job.error_message or job.get_state_display())
        return job

    def _tell(self, job: Repricing) -> None:
        for day in job.days.all():
            costs = f"{_usd(day.cost_before)} -> {_usd(day.cost_after)}"
            self.stdout.write(f"{day.day} {day.language_model}: {day.executions}, {costs}")
        words = _("%(changed)d of %(whole)d executions change, %(priced)d of them had no cost: %(before)s -> %(after)s")
        figures = {"changed": job.changed, "whole": job.looked_at, "priced": job.priced}
        self.stdout.write(words % {**figures, "before": _usd(job.cost_before), "after": _usd(job.cost_after)})


def _usd(pico: int) -> str:
    return f"$ {as_decimal(pico, PICO_PER_USD)}"


def _moment(text: str) -> datetime:
    try:
        return moment_of(text)
    except ValueError:
        raise CommandError(_("Expected a moment such as 2026-01-31T00:00:00Z.")) from None
