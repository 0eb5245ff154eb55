"""Those who follow all rows of a kind that belong to another row, such as the executions of a program, new ones too.

One reader per process and kind, as for single rows (`mlops.services.watching`). A look reads what was made since the
last one and what had not ended then; ids ascend with time, and what was made up to `OVERLAP_S` earlier is read again,
since ids are made some time before they are committed, and by processes whose clocks differ.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.errors import Unavailable
from mlops.models.base import first_id_at
from mlops.services.database import off_the_loop
from mlops.services.watching import Change, Reader
from mlops.types import TERMINAL_STATES, JobState

OVERLAP_S = 10.0
PRESENT = 200
"""Of what is under way when somebody begins to follow they are told so many, the newest."""

MAX_UNHEARD = 1_000
"""Rows that a follower may lag behind."""


@dataclass(frozen=True, slots=True)
class _Found:
    id: UUID
    parent: UUID
    state: str
    revision: int

    @property
    def is_open(self) -> bool:
        return self.state not in TERMINAL_STATES

    @property
    def change(self) -> Change:
        return Change(self.id, self.state, self.revision)


class Follower:
    """One who follows: hears of each row its latest change."""

    def __init__(self) -> None:
        self._unheard: dict[UUID, Change] = {}
        self._news = asyncio.Event()

    def offer(self, change: Change) -> None:
        if len(self._unheard) <= MAX_UNHEARD:
            self._unheard[change.id] = change
        self._news.set()

    async def next(self) -> Change:
        """Raises `Unavailable` (`updates_missed`) for one who is too slow."""
        while not self._unheard:
            self._news.clear()
            await self._news.wait()
        if len(self._unheard) > MAX_UNHEARD:
            raise Unavailable("updates_missed", _("More has changed than could be told. Subscribe again."))
        return self._unheard.pop(next(iter(self._unheard)))


class Followers(Reader):
    """Fans changes of the rows whose foreign key `key` points at a row out to those who follow that one."""

    poll_s = 4.0  # the right to follow is asked of that one, which is read for it

    def __init__(self, model: type[models.Model], key: str) -> None:
        super().__init__(model)
        self._column = f"{key}_id"
        self._following: dict[UUID, set[Follower]] = defaultdict(set)
        self._known: dict[UUID, dict[UUID, _Found]] = {}
        self._looked_at: datetime | None = None
        self._looking = asyncio.Lock()

    def is_watched(self) -> bool:
        return bool(self._following)

    async def changes(self, parent: UUID) -> AsyncGenerator[Change, None]:
        """Changes of the rows of `parent`, for ever; those first that have not ended. Raises as `Follower.next`."""
        follower = Follower()
        try:
            async with self._looking:
                await self._begin(parent, follower)
            self.read()
            while True:
                yield await follower.next()
        finally:
            self._following[parent].discard(follower)
            if not self._following[parent]:
                del self._following[parent]
                self._known.pop(parent, None)

    async def _begin(self, parent: UUID, follower: Follower) -> None:
        if parent not in self._known:
            since = self._since(fresh=not self._known)
            self._known[parent] = {one.id: one for one in await off_the_loop(lambda: self._present(parent, since))}
        self._following[parent].add(follower)
        under_way = sorted((one for one in self._known[parent].values() if one.is_open), key=lambda one: one.id)
        for one in under_way[-PRESENT:]:
            follower.offer(one.change)

    async def look(self) -> None:
        async with self._looking:
            began, since = timezone.now(), self._since(fresh=False)
            parents = list(self._following)
            unended = [one.id for known in self._known.values() for one in known.values() if one.is_open]
            found = await off_the_loop(lambda: self._changed(parents, since, unended))
            self._looked_at = began
            self._tell(sorted(found, key=lambda one: one.id))
            self._forget_ended(self._since(fresh=False))

    def _tell(self, found: Iterable[_Found]) -> None:
        for one in found:
            known = self._known.get(one.parent)
            if known is None or (one.id in known and known[one.id].revision >= one.revision):
                continue
            known[one.id] = one
            for follower in self._following[one.parent]:
                follower.offer(one.change)

    def _forget_ended(self, since: UUID) -> None:
        for known in self._known.values():
            for one in [one for one in known.values() if not one.is_open and one.id < since]:
                del known[one.id]

    def _since(self, *, fresh: bool) -> UUID:
        if fresh or self._looked_at is None:
            self._looked_at = timezone.now()
        return first_id_at(self._looked_at - timedelta(seconds=OVERLAP_S))

    def _present(self, parent: UUID, since: UUID) -> list[_Found]:
        mine = self._rows().filter(**{self._column: parent})
        # Said one by one, the states meet the indexes of what is under way, however much has ended.
        under_way = mine.filter(models.Q(state=JobState.PENDING) | models.Q(state=JobState.RUNNING))
        return self._read_from(under_way) + self._read_from(mine.filter(pk__gte=since))

    def _changed(self, parents: list[UUID], since: UUID, unended: list[UUID]) -> list[_Found]:
        theirs = self._rows().filter(**{f"{self._column}__in": parents})
        return self._read_from(theirs.filter(models.Q(pk__gte=since) | models.Q(pk__in=unended)))

    def _rows(self) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = self.model._base_manager.order_by()
        return rows

    def _read_from(self, rows: models.QuerySet[Any]) -> list[_Found]:
        return [_Found(*row) for row in rows.values_list("pk", self._column, "state", "revision")]


_here: dict[tuple[type[models.Model], str], tuple[asyncio.AbstractEventLoop, Followers]] = {}


def followers_of(model: type[models.Model], key: str) -> Followers:
    """Those who follow, on the running event loop, rows of `model` by what their foreign key `key` points at."""
    loop = asyncio.get_running_loop()
    known = _here.get((model, key))
    if known is None or known[0] is not loop:
        known = _here[model, key] = (loop, Followers(model, key))
    return known[1]
