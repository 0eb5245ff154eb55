"""`manage.py check_credits`: prove that every cached balance is the sum of its ledger, or make it so."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from mlops.models import User
from mlops.selectors import unproven_balances
from mlops.services.balances import repair_balance
from mlops.services.history import operator


class Command(BaseCommand):
    help = "Compare every cached balance with the sum of its ledger lines; exit status 1 when one differs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--repair", action="store_true", help="cache the sum of the ledger where it differs; exit status 0 then"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = list(unproven_balances())
        for user, proven in wrong:
            self.stderr.write(f"{user.username}: cached {user.ml_credits}, ledger {proven} micro-credits")
        if wrong and not options["repair"]:
            raise CommandError(_("%(count)d balances differ from the ledger.") % {"count": len(wrong)})
        for user, _proven in wrong:
            proven = repair_balance(actor=operator(), user=user)
            self.stdout.write(_("%(user)s: now %(credits)d micro-credits") % {"user": user, "credits": proven})
        self.stdout.write(_("%(count)d balances agree with the ledger.") % {"count": User.objects.count()})
