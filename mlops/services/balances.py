"""Putting a cached balance right that differs from its ledger."""

from __future__ import annotations

from django.db import transaction

from mlops.models import User
from mlops.policies import user_policy
from mlops.selectors import proven_balance
from mlops.services.history import save_with_history
from mlops.services.locking import locked
from mlops.verbs import verb


@verb(user_policy, "repair_balance")
def repair_balance(*, actor: User, user: User) -> int:
    """Make the cached balance of `user` the sum of its ledger, which is never touched; that sum, in micro-credits.

    Whoever moves credits changes the account in the same transaction, so that under its lock the sum cannot move. The
    history of the account says what was cached before. Raises `Forbidden`.
    """
    user_policy.check(actor, "repair_balance", user)
    with transaction.atomic():
        row = locked(user)
        cached, proven = row.ml_credits, proven_balance(row)
        if cached != proven:
            row.ml_credits = proven
            reason = f"repair_balance: {cached} -> {proven}"
            save_with_history(row, actor=actor, reason=reason, update_fields=["ml_credits"])
    return proven
