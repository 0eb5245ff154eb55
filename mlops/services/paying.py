"""Paying for a piece of work that a caller waits for: credits and budgets, reserved before and settled after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlops.models import User
from mlops.runtime.recorder import Recorder
from mlops.services.budgets import Charged, budgeted
from mlops.services.credits import MAX_AMOUNT, Subject, credits_for, credits_owed, reserve, settle


@contextmanager
def paying(*, user: User, charged: Charged, key: str, subject: Subject, recorder: Recorder) -> Iterator[None]:
    """Have `user` pay for what the body uses, as `recorder` knows it; at most `charged` is expected.

    `key` names the reservation of credits. Raises `InsufficientCredits` (`budget_exhausted`, `insufficient_credits`)
    before the body begins, and nothing is reserved then.
    """
    with budgeted(user=user, charged=charged, recorder=recorder):
        amount = min(credits_for(charged.cost), MAX_AMOUNT)
        reservation = reserve(user=user, amount=amount, key=key, subject=subject)
        try:
            yield
        finally:
            owed = credits_owed(
                known_cost=recorder.known_cost, is_unpriced=recorder.cost is None, reserved=amount
            )  # fmt: skip
            settle(reservation=reservation, used=min(owed, MAX_AMOUNT))
