"""Who waits for executions, and how they hear: one reader per process for all that are watched.

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
from uuid import UUID

from django.db import InterfaceError, OperationalError

from executions.models import Execution
from executions.services.database import DatabaseThreads
from executions.types import TERMINAL_STATES

logger = logging.getLogger(__name__)

POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Change:
    """What a watcher hears: the execution's state, and the revision that a later reader can go on from."""

    execution_id: UUID
    state: str
    revision: int

    @property
    def is_final(self) -> bool:
        return self.state in TERMINAL_STATES


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
    """Fans changes of executions out to those who wait for them. Lives on one event loop."""

    def __init__(self, database: DatabaseThreads) -> None:
        self._database = database
        self._watching: dict[UUID, set[Watcher]] = defaultdict(set)
        self._reader: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        return sum(map(len, self._watching.values()))

    def announce(self, execution: Execution) -> None:
        """Tell those who wait that `execution` was committed in its present state."""
        self._offer(Change(execution.pk, execution.state, execution.revision))

    async def changes(self, execution_id: UUID, after: int = 0) -> AsyncGenerator[Change, None]:
        """Changes beyond revision `after`, the present state first, ending with the final one."""
        watcher = Watcher(after)
        self._watching[execution_id].add(watcher)
        try:
            for change in await self._database.run(lambda: _states([execution_id])):
                watcher.offer(change)
            self._read()
            while True:
                change = await watcher.next()
                yield change
                if change.is_final:
                    return
        finally:
            self._watching[execution_id].discard(watcher)
            if not self._watching[execution_id]:
                del self._watching[execution_id]

    async def ended(self, execution_id: UUID, wait_s: float) -> bool:
        """Whether the execution is in a terminal state within `wait_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s), contextlib.aclosing(self.changes(execution_id)) as changes:
                async for change in changes:
                    if change.is_final:
                        return True
        return False

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    def _offer(self, change: Change) -> None:
        for watcher in self._watching.get(change.execution_id, ()):
            watcher.offer(change)

    def _read(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._poll(), name="execution-changes")

    async def _poll(self) -> None:
        while self._watching:
            await asyncio.sleep(POLL_S)
            watched = list(self._watching)
            try:
                changes = await self._database.run(lambda keys=watched: _states(keys))  # type: ignore[misc]
            except (OperationalError, InterfaceError):
                logger.warning("The database does not answer; those who wait will hear later")
                continue
            for change in changes:
                self._offer(change)


def _states(keys: list[UUID]) -> list[Change]:
    rows = Execution.objects.filter(pk__in=keys).values_list("pk", "state", "revision")
    return [Change(*row) for row in rows]
