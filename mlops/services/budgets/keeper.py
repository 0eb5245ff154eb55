"""The budgets as one process keeps them: what is reserved from slices before a model is called, and settled after.

Reserving touches neither the database nor a thread as long as the process's slices cover it. They are enlarged when
they do not, the database is told of what was used every `TICK_S`, and they are given back when nobody has used them for
`IDLE_S` or the process stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import NamedTuple
from uuid import UUID

from django.db import InterfaceError, OperationalError

from mlops.periods import first_day, today
from mlops.services.budgets.purse import Purse
from mlops.services.budgets.slices import EXPIRES_S, Claim, Granted, exchange
from mlops.services.budgets.terms import Charged, Exhausted, Table, Terms, read_table
from mlops.services.database import DatabaseThreads

logger = logging.getLogger(__name__)

FRESH_S, STALE_S = 1.5, 3.0
"""How old the table of budgets gets before it is looked at again, and before work waits for that."""

TICK_S = 1.0
IDLE_S = 5.0

PATIENCE_S = 3.0
"""How long work waits for what other processes hold and do not use; they give it back when they tell next."""

AGAIN_S = 0.25
"""The database is asked for the same again after so long."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a piece of work cost, by the names of the models: pico-dollars as far as they are known, and the models of
    which something has an unknown cost."""

    costs: Mapping[str, int] = field(default_factory=dict)
    unpriced: frozenset[str] = frozenset()

    def on(self, model: str) -> int:
        """The cost of one model, or of all of them under the empty name."""
        return self.costs.get(model, 0) if model else sum(self.costs.values())

    def is_unpriced(self, model: str) -> bool:
        return model in self.unpriced if model else bool(self.unpriced)


class Part(NamedTuple):
    purse: Purse
    amount: int


@dataclass(slots=True, eq=False)
class Hold:
    """What one piece of work has reserved. It is settled once; `parts` is empty before and after."""

    parts: list[Part] = field(default_factory=list)


class Refusal(NamedTuple):
    """What the database said last to who needed too much, and when."""

    granted: Granted
    needed: int
    at: float


class BudgetKeeper:
    """See the module. Everything but `forget` belongs to one event loop."""

    def __init__(self, database: DatabaseThreads, holder: str) -> None:
        self._database = database
        self._holder = holder
        self._table: Table | None = None
        self._read_at = 0.0
        self._reading: asyncio.Task[Table] | None = None
        self._purses: dict[tuple[UUID, date], Purse] = {}
        self._leaving: list[Purse] = []
        self._refusals: dict[Purse, Refusal] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def are_any(self) -> bool:
        """Whether there is any budget: what work may cost is calculated only then."""
        return not (await self._present_table()).is_empty

    def forget(self) -> None:
        """Budgets may have changed here: the next work waits until they are read. Callable from any thread."""
        self._table, self._read_at = None, 0.0

    async def reserve(self, charged: Charged) -> Hold:
        """Reserve what is expected from every budget in force.

        Raises `Exhausted` when one of them does not cover it, and has reserved nothing then. Work that is expected to
        cost nothing is never refused.
        """
        hold, table = Hold(), await self._present_table()
        if table.is_empty:
            return hold
        try:
            for terms in table.in_force(charged):
                amount = charged.amount_of(terms)
                if purse := await self._reserved(terms, amount):
                    hold.parts.append(Part(purse, amount))
        except BaseException:
            self.release(hold)
            raise
        return hold

    def settle(self, hold: Hold, spent: Spent) -> None:
        """The work is over: what it cost is spent, the rest of its reservation free again. Repeating is harmless."""
        parts, hold.parts = hold.parts, []
        for purse, amount in parts:
            model = purse.terms.model
            purse.settle(amount, spent.on(model), int(spent.is_unpriced(model)))
        if parts:
            self._charge_stand_ins({purse.terms.id for purse, _amount in parts}, spent)

    def release(self, hold: Hold) -> None:
        """The work did not begin."""
        parts, hold.parts = hold.parts, []
        for purse, amount in parts:
            purse.settle(amount, 0)

    async def charge(self, charged: Charged, spent: Spent) -> None:
        """A cost that nothing was reserved for."""
        for terms in (await self._present_table()).in_force(charged):
            self._purse(terms).charge(spent.on(terms.model), int(spent.is_unpriced(terms.model)))

    async def stop(self) -> None:
        """Tell what was used and give the rest back, as far as the database answers."""
        self._stopping.set()
        if self._ticking is not None:
            await asyncio.gather(self._ticking, return_exceptions=True)
        for purse in list(self._purses.values()):
            self._leave(purse)
        await self._tell()

    # The table

    async def _present_table(self) -> Table:
        age = time.monotonic() - self._read_at
        if self._table is not None and age < FRESH_S:
            return self._table
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        if self._table is not None and age < STALE_S:
            return self._table
        return await asyncio.shield(self._reading)

    async def _read(self) -> Table:
        began = time.monotonic()
        try:
            self._table = await self._database.run(partial(read_table, self._table or Table()))
            self._read_at = began
            return self._table
        finally:
            self._reading = None

    # Purses

    def _purse(self, terms: Terms) -> Purse:
        """That of the present period."""
        key = (terms.id, first_day(terms.cycle, today()))
        purse = self._purses.get(key)
        if purse is None:
            purse = self._purses[key] = Purse(terms, key[1])
            if self._ticking is None or self._ticking.done():
                self._ticking = asyncio.create_task(self._tick(), name="budgets")
        return purse

    async def _reserved(self, terms: Terms, amount: int) -> Purse | None:
        """The purse from which `amount` was taken, once it is there; None when the budget is gone.

        Raises `Exhausted`: at once where there is not enough, and after `PATIENCE_S` where other processes hold it.
        """
        give_up = time.monotonic() + PATIENCE_S
        while not (purse := self._purse(terms)).take(amount):
            granted = await asyncio.shield(asyncio.create_task(self._enlarged(purse, amount)))
            if granted is None:
                return None
            if granted.is_covered:
                continue
            if not granted.is_lent or time.monotonic() > give_up:
                raise Exhausted(terms, purse.starts_on, granted.limit)
            await asyncio.sleep(AGAIN_S)
        return purse

    async def _enlarged(self, purse: Purse, amount: int) -> Granted | None:
        """Ask for more, unless somebody else has just done so."""
        async with purse.lock:
            if purse.is_closed or purse.free >= amount:
                return Granted(purse.size, 0)
            known = self._refusals.get(purse)
            if known is not None and known.needed <= amount and time.monotonic() - known.at < AGAIN_S:
                return known.granted
            granted = await self._exchanged(purse, needed=amount)
            self._refusals.pop(purse, None)
            if granted is not None and not granted.is_covered:
                self._refusals[purse] = Refusal(granted, amount, time.monotonic())
            return granted

    async def _exchanged(self, purse: Purse, *, needed: int = 0, is_last: bool = False) -> Granted | None:
        """Tell the database of `purse`, whose lock is held."""
        purse.bind()
        claim = Claim(
            slice_id=purse.slice_id,
            budget_id=purse.terms.id,
            starts_on=purse.starts_on,
            holder=self._holder,
            used=purse.used,
            reserved=purse.reserved,
            unpriced=purse.unpriced,
            needed=needed,
            spare=0 if is_last else purse.spare(needed),
            is_known=purse.is_known,
            is_last=is_last,
        )
        granted = await self._database.run(partial(exchange, claim))
        if granted is not None:
            purse.told(granted.size, claim.used, claim.reserved, claim.unpriced)
        return granted

    def _charge_stand_ins(self, told: set[UUID], spent: Spent) -> None:
        """Models of metrics have budgets too, from which nothing was reserved."""
        if self._table is None:
            return
        for model, cost in spent.costs.items():
            for terms in self._table.of_model(model):
                if terms.id not in told:
                    self._purse(terms).charge(cost, int(spent.is_unpriced(model)))

    # Telling the database

    async def _tick(self) -> None:
        """For as long as there are purses."""
        while (self._purses or self._leaving) and not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TICK_S)
                return
            for purse in list(self._purses.values()):
                purse.tick()
                if purse.is_idle(IDLE_S):
                    self._leave(purse)
            await self._tell()

    async def _tell(self) -> None:
        try:
            for purse in list(self._purses.values()):
                if purse.is_due(EXPIRES_S / 3):
                    async with purse.lock:
                        await self._exchanged(purse)
            for purse in list(self._leaving):
                await self._exchanged(purse, is_last=True)
                self._leaving.remove(purse)
        except (OperationalError, InterfaceError):
            logger.warning("The database does not answer; what was spent of budgets is told later")
        except Exception:  # whoever tells must not die of one mistake
            logger.exception("What was spent of budgets is not told")

    def _leave(self, purse: Purse) -> None:
        """Nothing is reserved from it any more."""
        del self._purses[purse.terms.id, purse.starts_on]
        self._refusals.pop(purse, None)
        purse.is_closed = True
        if purse.is_known or purse.has_news:
            self._leaving.append(purse)
