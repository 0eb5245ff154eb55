"""Who waits for work, and how they hear: one reader per process and kind of row for all that are watched.

A change made in this process is announced at once by whoever committed it. Changes made elsewhere are seen by one query
for all watched rows together, whatever their number: when a nudge says that rows of the kind have changed somewhere,
and every `poll_s` seconds, since a nudge may be lost. Events are the row's state and revision, so a missed one is never
a lost one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, models, transaction

from mlops.services.database import off_the_loop
from mlops.services.nudges import hear, nudge
from mlops.types import TERMINAL_STATES

logger = logging.getLogger(__name__)

PAUSE_S = 0.05
"""A reader rests so long at least, and four times as long as its last look took: nudges of a busy system come often."""


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
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()

    def offer(self, change: Change) -> None:
        is_news = change.revision > self._heard
        if is_news or (change.is_final and self._changes.empty()):  # whoever comes after the end must not wait for more
            self._heard = max(self._heard, change.revision)
            self._changes.put_nowait(change)

    def end(self) -> None:
        self._changes.put_nowait(None)

    async def next(self) -> Change | None:
        """None where nobody looks any more."""
        return await self._changes.get()


class Reader(ABC):
    """Looks for changes of one kind of row while any are watched. Lives on one event loop."""

    poll_s: float
    """How often it looks without a nudge. With what rights cost (`mlops.graphql.connected`) that is less than a query a
    second for whatever is watched idly."""

    def __init__(self, model: type[models.Model]) -> None:
        self.model: Any = model
        self._nudged, self._wanted = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    @abstractmethod
    def is_watched(self) -> bool:
        """Whether anybody waits."""

    @abstractmethod
    async def look(self) -> None:
        """Tell those who wait of what has changed."""

    def read(self) -> None:
        """Somebody waits now."""
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read(), name=f"{self.model._meta.model_name}-changes")

    async def _read(self) -> None:
        hearing = asyncio.create_task(hear(self.model, self._nudged.set), name=f"{self.model._meta.model_name}-nudges")
        try:
            while True:
                if not self.is_watched():
                    self._wanted.clear()
                    await self._wanted.wait()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._nudged.wait(), self.poll_s)
                self._nudged.clear()
                await self._look_and_rest()
        finally:
            hearing.cancel()

    async def _look_and_rest(self) -> None:
        began = time.monotonic()
        try:
            await self.look()
        except (OperationalError, InterfaceError):
            logger.warning("The database does not answer; those who wait will hear later")
        await asyncio.sleep(max(PAUSE_S, 4 * (time.monotonic() - began)))


class Watchers(Reader):
    """Fans changes of single rows out to those who wait for them."""

    poll_s = 1.5  # rights are asked of the row as the last look found it

    def __init__(self, model: type[models.Model]) -> None:
        super().__init__(model)
        self._watching: dict[UUID, set[Watcher]] = defaultdict(set)
        self._seen: dict[UUID, Any] = {}

    def is_watched(self) -> bool:
        return bool(self._watching)

    def stop(self) -> None:
        """Whoever waits is not left waiting for what nobody will tell."""
        super().stop()
        for watcher in chain.from_iterable(self._watching.values()):
            watcher.end()

    @property
    def count(self) -> int:
        return sum(map(len, self._watching.values()))

    def offer(self, change: Change) -> None:
        """Tell those who wait of a change that was committed."""
        for watcher in self._watching.get(change.id, ()):
            watcher.offer(change)

    async def changes(self, id: UUID, after: int = 0) -> AsyncGenerator[Change, None]:
        """Changes beyond revision `after`, the present state first, ending with the final one or with the looking."""
        watcher = Watcher(after)
        self._watching[id].add(watcher)
        try:
            for row in await off_the_loop(lambda: self._rows([id])):
                self._seen[id] = row
                watcher.offer(change_of(row))
            self.read()
            while change := await watcher.next():
                yield change
                if change.is_final:
                    return
        finally:
            self._watching[id].discard(watcher)
            if not self._watching[id]:
                del self._watching[id]
                self._seen.pop(id, None)

    def seen(self, id: UUID) -> Any | None:
        """A watched row with what the right to see it depends on (`watched` of its queryset), as of the last look."""
        return self._seen.get(id)

    async def ended(self, id: UUID, wait_s: float) -> bool:
        """Whether the row is in a terminal state within `wait_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s), contextlib.aclosing(self.changes(id)) as changes:
                async for change in changes:
                    if change.is_final:
                        return True
        return False

    async def look(self) -> None:
        watched = list(self._watching)
        for row in await off_the_loop(lambda: self._rows(watched)):
            if row.pk in self._watching:
                self._seen[row.pk] = row
                self.offer(change_of(row))

    def _rows(self, keys: list[UUID]) -> list[Any]:
        return list(self.model._default_manager.watched().filter(pk__in=keys))


_here: dict[type[models.Model], tuple[asyncio.AbstractEventLoop, Watchers]] = {}


def watchers_of(model: type[models.Model]) -> Watchers:
    """Those who wait, on the running event loop, for rows of `model`: any with `state` and `revision`."""
    loop = asyncio.get_running_loop()
    known = _here.get(model)
    if known is None or known[0] is not loop:
        known = _here[model] = (loop, Watchers(model))
    return known[1]


def stop_watching() -> None:
    """The running event loop is about to end."""
    here = asyncio.get_running_loop()
    for loop, watchers in _here.values():
        if loop is here:
            watchers.stop()


def announce(row: Any) -> None:
    """Tell those who wait, here and in other processes, once the present transaction is committed; callable from any
    thread. Without it they hear by the next look at the database."""
    model = type(row)
    transaction.on_commit(lambda: nudge(model))
    known = _here.get(model)
    if known is None:
        return
    loop, watchers = known
    change = change_of(row)

    def tell() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has just been closed: nobody waits there
            loop.call_soon_threadsafe(watchers.offer, change)

    transaction.on_commit(tell)
