"""Who is connected to this process, and who they are by now.

Every `RENEW_S` everybody's token or session is looked up again, all of them at once, and each operation's right to go
on is asked for who they are then: an operation outlives its right by less than 5 s, and the queries that it takes do
not grow with the number of those who are connected.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID
from weakref import WeakKeyDictionary

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _

from mlops.errors import DomainError, TooMany
from mlops.graphql.subscriptions import Right
from mlops.models import User
from mlops.services.credentials import Credentials, known_by
from mlops.services.database import off_the_loop

if TYPE_CHECKING:
    from mlops.graphql.operations import Operation
    from mlops.graphql.sockets import SubscriptionSocket

logger = logging.getLogger(__name__)

RENEW_S = 3.0

STALE_S = 4.0
"""Whoever was looked up longer ago is looked up again before anything is told to them."""


class Connected:
    """Those who are connected, on one event loop."""

    def __init__(self) -> None:
        self._sockets: set[SubscriptionSocket] = set()
        self._of_user: Counter[UUID] = Counter()
        self._renewed_at = 0.0
        self._renewing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def enter(self, socket: SubscriptionSocket) -> None:
        """Raises `TooMany` (`too_many_connections`)."""
        limit = settings.SIGNET_CONNECTIONS_PER_USER
        if self._of_user[socket.actor.pk] >= limit:
            raise TooMany("too_many_connections", _("More than %(limit)d connections at once.") % {"limit": limit})
        self._of_user[socket.actor.pk] += 1
        self._sockets.add(socket)
        if self._task is None or self._task.done():
            self._renewed_at = time.monotonic()
            self._task = asyncio.create_task(self._keep(), name="connected")

    def leave(self, socket: SubscriptionSocket) -> None:
        if socket in self._sockets:
            self._sockets.discard(socket)
            self._of_user[socket.actor.pk] -= 1
            if not self._of_user[socket.actor.pk]:
                del self._of_user[socket.actor.pk]

    async def be_fresh(self) -> None:
        """Return once everybody has been looked up lately: after an outage of the database, say."""
        if time.monotonic() - self._renewed_at > STALE_S:
            async with self._renewing:
                if time.monotonic() - self._renewed_at > STALE_S:
                    await self._renew()

    async def _keep(self) -> None:
        while self._sockets:
            await asyncio.sleep(RENEW_S)
            try:
                async with self._renewing:
                    await self._renew()
            except (OperationalError, InterfaceError):
                logger.warning("The database does not answer; nobody is told anything until their rights are known")
            except Exception:  # whoever looks after rights must not die of one mistake
                logger.exception("Rights of those who are connected are not known")

    async def _renew(self) -> None:
        began, sockets = time.monotonic(), list(self._sockets)
        credentials = {socket.credentials for socket in sockets}
        known: dict[Credentials, User] = await off_the_loop(lambda: known_by(credentials))
        for socket in sockets:
            socket.is_now(known.get(socket.credentials))
        self._renewed_at = began
        operations = [(one, one.right()) for socket in self._sockets for one in socket.operations]
        asked = [(one, one.actor, right) for one, right in operations if right is not None]
        for operation, refusal in await off_the_loop(lambda: _refusals(asked)):
            operation.refuse(refusal)


def _refusals(asked: Iterable[tuple[Operation, User, Right]]) -> list[tuple[Operation, DomainError]]:
    """Whose right is gone. What several of them depend on is read once."""
    read: dict[Hashable, Any] = {}
    refusals = []

    def once(key: Hashable, call: Callable[[], Any]) -> Any:
        if key not in read:
            read[key] = call()
        return read[key]

    for operation, actor, right in asked:
        try:
            right(actor, once)
        except DomainError as refusal:
            refusals.append((operation, refusal))
    return refusals


_here: WeakKeyDictionary[asyncio.AbstractEventLoop, Connected] = WeakKeyDictionary()


def connected() -> Connected:
    """Those of the running event loop."""
    return _here.setdefault(asyncio.get_running_loop(), Connected())
