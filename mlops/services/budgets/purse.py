"""What one process holds of one budget in one period: arithmetic in memory, no database.

    size = used + reserved + free

`size` is covered by the database, `used` was really spent, `reserved` may be spent by what is under way, and `free` can
be reserved without asking anybody. Amounts are pico-dollars. A cost above its reservation makes `free` negative, until
the database is told.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from mlops.models.base import new_id
from mlops.services.budgets.terms import Terms

HORIZON = 4
"""A process holds as much as it spends in so many ticks, if there is that much."""


def counted(reserved: int, known_cost: int, unpriced: int) -> int:
    """What work counts in a budget: its cost, and where `unpriced` pieces of it have none that is known, at least what
    it had reserved."""
    return max(known_cost, reserved) if unpriced else known_cost


@dataclass(slots=True, eq=False)
class Purse:
    """See the module. Lives on one event loop; `lock` is held while the database is asked."""

    terms: Terms
    starts_on: date
    slice_id: UUID = field(default_factory=new_id)
    size: int = 0
    used: int = 0
    reserved: int = 0
    unpriced: int = 0
    holds: int = 0
    """How much work counts on this purse, what reserved nothing included."""
    is_known: bool = False
    """Whether the database has heard of the slice."""
    is_closed: bool = False
    last_s: float = field(default_factory=time.monotonic)
    told_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _used_before: int = 0
    _pace: int = 0
    _told: tuple[int, int, int] = (0, 0, 0)

    @property
    def free(self) -> int:
        return self.size - self.used - self.reserved

    @property
    def has_news(self) -> bool:
        """Whether the database should hear of what was used, is under way, or is not needed."""
        return (self.used, self.reserved, self.unpriced) != self._told or self.free != 0

    def is_due(self, every_s: float) -> bool:
        """Whether it is to be told now: a slice of which nobody tells is taken for lost."""
        return self.has_news or (self.is_known and time.monotonic() - self.told_s > every_s)

    def is_idle(self, for_s: float) -> bool:
        """Whether nothing counts on it and nothing has for so long."""
        return not self.holds and time.monotonic() - self.last_s > for_s

    def take(self, amount: int) -> bool:
        """Reserve `amount` if it is free; what costs nothing always passes."""
        if amount and amount > self.free:
            return False
        self.reserved += amount
        self.holds += 1
        self.last_s = time.monotonic()
        return True

    def settle(self, amount: int, cost: int, unpriced: int = 0) -> None:
        """What had reserved `amount` is over and cost `cost`, as far as that is known; see `counted`."""
        self.reserved -= amount
        self.holds -= 1
        self.used += counted(amount, cost, unpriced)
        self.unpriced += unpriced
        self.last_s = time.monotonic()

    def charge(self, cost: int, unpriced: int = 0) -> None:
        """A cost that nothing was reserved for."""
        self.used += cost
        self.unpriced += unpriced
        self.last_s = time.monotonic()

    def spare(self, amount: int = 0) -> int:
        """What to hold beyond the present need: with `amount` asked for, at least as much again as is under way."""
        pace = max(self._pace, self.used - self._used_before)
        return max(HORIZON * pace, self.reserved + amount if amount else 0)

    def tick(self) -> None:
        """Some time has passed: what was spent in it is the pace."""
        self._pace, self._used_before = self.used - self._used_before, self.used

    def bind(self) -> None:
        """Nothing is free while the database is asked: it may take all of that back."""
        self.size = self.used + self.reserved

    def told(self, size: int, used: int, reserved: int, unpriced: int) -> None:
        """The database knows these figures and covers `size`."""
        self.size, self._told = size, (used, reserved, unpriced)
        self.is_known, self.told_s = True, time.monotonic()
