"""`manage.py check_credits`: prove that every cached balance is the sum of its ledger."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from mlops.models import User
from mlops.selectors import unproven_balances


class Command(BaseCommand):
    help = "Compare every cached balance with the sum of its ledger lines; fails when one differs."

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = list(unproven_balances())
        for user, proven in wrong:
            self.stderr.write(f"{user.username}: cached {user.ml_credits}, ledger {proven} micro-credits")
        if wrong:
            raise CommandError(_("%(count)d balances differ from the ledger.") % {"count": len(wrong)})
        self.stdout.write(_("%(count)d balances agree with the ledger.") % {"count": User.objects.count()})
