"""Rows as they are told to subscribers: read once for all of them, together with those that are asked for meanwhile."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast
from uuid import UUID
from weakref import WeakKeyDictionary

from mlops.graphql.peers import together
from mlops.graphql.records import Record
from mlops.services.database import off_the_loop

T = TypeVar("T")

FRESH_S = 1.0
"""How long a row is told as it was read, unless it has changed."""

RELATED = ("program",)
"""What of other rows the right to see a row depends on."""


class Snapshot:
    """A row as it was read. It is shared: nobody may keep on it what was read in the scope of one actor."""

    def __init__(self, row: Any) -> None:
        self._row = row
        self._told: dict[Hashable, asyncio.Task[Any]] = {}

    @property
    def revision(self) -> int:
        return int(self._row.revision)

    @property
    def is_final(self) -> bool:
        return bool(self._row.is_terminal)

    async def once(self, key: Hashable, tell: Callable[[Any], T]) -> T:
        """`tell(row)` on a database thread with a copy of the row; of all who ask by `key` only for the first one."""
        task = self._told.get(key)
        if task is None:
            task = self._told[key] = asyncio.create_task(off_the_loop(lambda: tell(self._own_row())))
        return cast("T", await asyncio.shield(task))

    async def with_columns(self, names: tuple[str, ...]) -> None:
        """Have columns at hand that are only read where somebody asks for them."""
        if names:
            await self.once(("columns", names), lambda row: self._row.__dict__.update(_columns(row, names)))

    def _own_row(self) -> Any:
        return together([copy.copy(self._row)]).rows[0]


def _columns(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    missing = [name for name in names if name in row.get_deferred_fields()]
    return type(row)._base_manager.filter(pk=row.pk).values(*missing).get() if missing else {}


class Snapshots:
    """Snapshots of one kind of row. Lives on one event loop."""

    def __init__(self, kind: type[Record]) -> None:
        self._kind = kind
        self._kept: dict[UUID, Snapshot] = {}
        self._asked: dict[UUID, asyncio.Future[Snapshot | None]] = {}
        self._reading: set[asyncio.Task[None]] = set()

    async def of(self, id: UUID, revision: int) -> Snapshot | None:
        """The row as it is at `revision` or later; None when it is there no more."""
        kept = self._kept.get(id)
        if kept is not None and kept.revision >= revision:
            return kept
        return await asyncio.shield(self._ask(id))

    def _ask(self, id: UUID) -> asyncio.Future[Snapshot | None]:
        if not self._asked:
            asyncio.get_running_loop().call_soon(self._begin)
        if id not in self._asked:
            self._asked[id] = asyncio.get_running_loop().create_future()
        return self._asked[id]

    def _begin(self) -> None:
        asked, self._asked = self._asked, {}
        task = asyncio.create_task(self._read(asked))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read(self, asked: dict[UUID, asyncio.Future[Snapshot | None]]) -> None:
        try:
            rows = await off_the_loop(lambda: list(self._rows().filter(pk__in=asked)))
        except Exception as error:
            for future in asked.values():
                future.set_exception(error)
            return
        found = {row.pk: Snapshot(row) for row in rows}
        self._keep(found)
        for id, future in asked.items():
            future.set_result(found.get(id))

    def _keep(self, found: dict[UUID, Snapshot]) -> None:
        self._kept.update(found)
        asyncio.get_running_loop().call_later(FRESH_S, self._forget, found)

    def _forget(self, found: dict[UUID, Snapshot]) -> None:
        for id, snapshot in found.items():
            if self._kept.get(id) is snapshot:
                del self._kept[id]

    def _rows(self) -> Any:
        manager: Any = self._kind._meta.model._default_manager
        return manager.select_related(*RELATED).defer(*self._kind._meta.deferred)


_here: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[type[Record], Snapshots]] = WeakKeyDictionary()


def snapshots_of(kind: type[Record]) -> Snapshots:
    """Those of the running event loop."""
    of_loop = _here.setdefault(asyncio.get_running_loop(), {})
    if kind not in of_loop:
        of_loop[kind] = Snapshots(kind)
    return of_loop[kind]
