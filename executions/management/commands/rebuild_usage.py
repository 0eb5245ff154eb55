"""`manage.py rebuild_usage`: prove that the usage per day is what its rows say, or make it so."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from executions.services.usage import Difference, rebuild_usage


class Command(BaseCommand):
    help = (
        "Sum up the usage of every day from its executions, evaluations and optimizations, compare it with the kept "
        "sums and correct those; exit status 1 when one differed. It may run while others execute."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="compare only")
        parser.add_argument(
            "--since", type=date.fromisoformat, metavar="DAY", help="leave earlier days (UTC) as they are"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        found = rebuild_usage(check_only=options["check"], since=options["since"])
        for difference in found.examples:
            self.stderr.write(_told(difference))
        if found.different:
            told = _("%(count)d sums differ from their rows.") if options["check"] else _("%(count)d sums corrected.")
            raise CommandError(told % {"count": found.different})
        self.stdout.write(_("The usage agrees with its %(rows)d rows.") % {"rows": found.rows})


def _told(difference: Difference) -> str:
    grain = " ".join(f"{name}={value}" for name, value in difference.of.items() if value not in (None, ""))
    return f"{grain}: {', '.join(f'{figure} {missing:+d}' for figure, missing in difference.missing.items())}"
