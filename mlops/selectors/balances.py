"""What the ledger proves of balances."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import models
from django.db.models import Sum

from mlops.models import CreditEntry, User


def proven_balance(user: User) -> int:
    """The balance that the ledger proves, in micro-credits."""
    return int(CreditEntry.objects.filter(user=user).aggregate(total=Sum("amount", default=0))["total"])


def unproven_balances() -> Iterable[tuple[User, int]]:
    """Accounts whose cached balance is not the sum of their ledger, with that sum. Empty when all is well."""
    proven = User.objects.annotate(proven=Sum("credit_entries__amount", default=0))
    return [(user, user.proven) for user in proven.exclude(ml_credits=models.F("proven")).order_by("username")]
