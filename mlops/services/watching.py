"""Who waits for work, and how they hear: one reader per process and kind of row for all that are watched.

A change made in this process is announced at once by whoever committed it. Changes made elsewhere are seen by one query
every `POLL_S` seconds for all watched rows together, whatever their number. Events are the row's state and revision,
so a missed one is never a lost one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, models, transaction

from mlops.services.database import off_the_loop
from mlops.types import TERMINAL_STATES

logger = logging.getLogger(__name__)

POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Change:
    """What a watcher hears: the row's state, and the revision that a later reader can go on from."""

    id: UUID
    state: str
    revision: int

    @property
    def is_final(self) -> bool:
        return self.state in TERMINAL_STATES


def change_of(row: Any) -> Change:
    """What is to be told of a row as it was committed."""
    return Change(row.pk, row.state, row.revision)


class Watcher:
    """One who waits: hears each revision once, so that an idle watch holds nothing."""

    def __init__(self, after: int) -> None:
        self._heard = after
        self._changes: asyncio.Queue[Change] = asyncio.Queue()

    def offer(self, change: Change) -> None:
        if change.revision > self._heard:
            self._heard = change.revision
            self._changes.put_nowait(change)
        elif change.is_final and change.revision == self._heard and self._changes.empty():
            self._changes.put_nowait(change)  # a reader who came back after the end must not wait for more

    async def next(self) -> Change:
        return await self._changes.get()


class Watchers:
    """Fans changes of the rows of one model out to those who wait for them. Lives on one event loop."""

    def __init__(self, model: type[models.Model]) -> None:
        self._model = model
        self._watching: dict[UUID, set[Watcher]] = defaultdict(set)
        self._reader: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        return sum(map(len, self._watching.values()))

    def offer(self, change: Change) -> None:
        """Tell those who wait of a change that was committed."""
        for watcher in self._watching.get(change.id, ()):
            watcher.offer(change)

    async def changes(self, id: UUID, after: int = 0) -> AsyncGenerator[Change, None]:
        """Changes beyond revision `after`, the present state first, ending with the final one."""
        watcher = Watcher(after)
        self._watching[id].add(watcher)
        try:
            for change in await off_the_loop(lambda: self._states([id])):
                watcher.offer(change)
            self._read()
            while True:
                change = await watcher.next()
                yield change
                if change.is_final:
                    return
        finally:
            self._watching[id].discard(watcher)
            if not self._watching[id]:
                del self._watching[id]

    async def ended(self, id: UUID, wait_s: float) -> bool:
        """Whether the row is in a terminal state within `wait_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s), contextlib.aclosing(self.changes(id)) as changes:
                async for change in changes:
                    if change.is_final:
                        return True
        return False

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    def _read(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._poll(), name=f"{self._model._meta.model_name}-changes")

    async def _poll(self) -> None:
        while self._watching:
            await asyncio.sleep(POLL_S)
            watched = list(self._watching)
            try:
                changes = await off_the_loop(lambda keys=watched: self._states(keys))  # type: ignore[misc]
            except (OperationalError, InterfaceError):
                logger.warning("The database does not answer; those who wait will hear later")
                continue
            for change in changes:
                self.offer(change)

    def _states(self, keys: list[UUID]) -> list[Change]:
        rows = self._model._base_manager.filter(pk__in=keys).values_list("pk", "state", "revision")
        return [Change(*row) for row in rows]


_here: dict[type[models.Model], tuple[asyncio.AbstractEventLoop, Watchers]] = {}


def watchers_of(model: type[models.Model]) -> Watchers:
    """Those who wait, on the running event loop, for rows of `model`: any with `state` and `revision`."""
    loop = asyncio.get_running_loop()
    known = _here.get(model)
    if known is None or known[0] is not loop:
        known = _here[model] = (loop, Watchers(model))
    return known[1]


def announce(row: Any) -> None:
    """Tell those who wait in this process, once the present transaction is committed; callable from any thread.

    Without it they hear by the next look at the database.
    """
    known = _here.get(type(row))
    if known is None:
        return
    loop, watchers = known
    change = change_of(row)

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has just been closed: nobody waits there
            loop.call_soon_threadsafe(watchers.offer, change)

    transaction.on_commit(tell)
