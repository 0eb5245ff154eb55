"""Budgets of work outside of the event loop: embeddings of imports and of searches, trials of a metric.

There is little of it beside executions, so it keeps no slice of a budget for later: each piece of work asks the
database for what it needs, and tells what it cost when it is over.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from mlops.models import User
from mlops.models.base import new_id
from mlops.periods import first_day, today
from mlops.runtime.recorder import Recorder
from mlops.services.budgets.keeper import AGAIN_S, PATIENCE_S, Spent
from mlops.services.budgets.purse import counted
from mlops.services.budgets.slices import Claim, exchange
from mlops.services.budgets.terms import Charged, Exhausted, Table, Terms, enabled_terms


@contextmanager
def budgeted(*, user: User, charged: Charged, recorder: Recorder) -> Iterator[None]:
    """Reserve what the body is expected to cost of every budget in force; afterwards what `recorder` knows is spent.

    Raises `InsufficientCredits` (`budget_exhausted`, told to `user`) where one of them does not cover it, and has
    reserved nothing then. Blocks, up to `PATIENCE_S` where other processes hold what is left.
    """
    parts: list[_Part] = []
    try:
        for terms in Table(rows=enabled_terms()).in_force(charged):
            parts.append(_Part(terms, charged.amount_of(terms)))
            parts[-1].reserve()
        yield
    except Exhausted as refusal:
        raise refusal.told_to(user) from None
    finally:
        spent = Spent(dict(recorder.known_costs), frozenset(recorder.unpriced))
        for part in parts:
            part.settle(spent)


@dataclass(slots=True)
class _Part:
    """What one piece of work holds of one budget: a slice of its own."""

    terms: Terms
    amount: int
    slice_id: UUID = field(default_factory=new_id)
    starts_on: date = field(init=False)
    is_known: bool = False

    def __post_init__(self) -> None:
        self.starts_on = first_day(self.terms.cycle, today())

    def reserve(self) -> None:
        """Raises `Exhausted`. What costs nothing always passes."""
        if not self.amount:
            return
        give_up = time.monotonic() + PATIENCE_S
        while (granted := exchange(self._claim(needed=self.amount))) is not None and not granted.is_covered:
            self.is_known = True
            if not granted.is_lent or time.monotonic() > give_up:
                self.amount = 0
                raise Exhausted(self.terms, self.starts_on, granted.limit)
            time.sleep(AGAIN_S)
        self.is_known = True
        exchange(self._claim(reserved=self.amount))  # so that it stays counted if this process is killed

    def settle(self, spent: Spent) -> None:
        """The work is over, or did not begin."""
        model = self.terms.model
        unpriced = int(spent.is_unpriced(model))
        used = counted(self.amount, spent.on(model), unpriced)
        if self.is_known or used or unpriced:
            exchange(self._claim(used=used, unpriced=unpriced, is_last=True))

    def _claim(self, **figures: Any) -> Claim:
        return Claim(
            **{"used": 0, "reserved": 0, **figures},
            slice_id=self.slice_id,
            budget_id=self.terms.id,
            starts_on=self.starts_on,
            holder=f"{socket.gethostname()[:60]}:{os.getpid()}",
            is_known=self.is_known,
        )
