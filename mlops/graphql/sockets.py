"""Subscriptions over WebSocket, by the protocol graphql-transport-ws.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from channels.exceptions import StopConsumer  # type: ignore[import-untyped]
from channels.generic.websocket import AsyncWebsocketConsumer  # type: ignore[import-untyped]
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.utils.translation import gettext as _

from mlops.encoding import encoded
from mlops.errors import DomainError, Forbidden, Invalid, TooMany, Unauthenticated
from mlops.graphql.connected import connected
from mlops.graphql.errors import domain_error_of
from mlops.graphql.handshakes import credentials_of, known_as, request_of, unknown
from mlops.graphql.operations import Operation, told
from mlops.graphql.outbox import Farewell, Letter, Outbox
from mlops.graphql.views import Asked
from mlops.models import User
from mlops.services.credentials import Credentials
from mlops.services.rates import acheck_rate
from mlops.strict_json import parse_json

logger = logging.getLogger(__name__)

PROTOCOL = "graphql-transport-ws"
INIT_S = 10.0
"""How long one may be connected without having said who one is."""

MALFORMED, UNAUTHORIZED, FORBIDDEN = 4400, 4401, 4403
OTHER_PROTOCOL, INIT_TIMEOUT, ID_IN_USE, TOO_MANY = 4406, 4408, 4409, 4429
TOO_BIG, TRY_LATER, INTERNAL_ERROR = 1009, 1013, 4500
"""Codes with which connections end. Clients connect again after `TRY_LATER`, which is what slow ones hear."""


class Refused(Exception):
    """What was sent ends the connection."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class SubscriptionSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """One connection. It reads and answers at once; operations and sending are tasks of their own."""

    channel_layer_alias = ""  # what has changed is heard by the readers of the process, not by each connection
    handlers: ClassVar[Mapping[str, str]] = {
        "connection_init": "_init",
        "subscribe": "_subscribe",
        "complete": "_complete",
        "ping": "_ping",
        "pong": "_pong",
    }

    def __init__(self, schema: Any) -> None:
        super().__init__()
        self.schema = schema
        self.actor: User
        self.credentials: Credentials
        self._outbox = Outbox()
        self._operations: dict[str, Operation] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._has_said_who = self._is_known = self._is_ending = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._leave()

    async def dispatch(self, message: Any) -> None:
        """Channels' own takes a thread per frame to close database connections; there are none here."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    async def websocket_disconnect(self, message: Any) -> None:
        raise StopConsumer

    async def connect(self) -> None:
        self._request = request_of(self.scope)
        try:
            self._request.get_host()
        except DisallowedHost:
            await self.close()
            return
        if PROTOCOL not in self.scope.get("subprotocols", ()):
            await self.accept()
            await self.close(OTHER_PROTOCOL, "Subprotocol not acceptable")
            return
        await self.accept(PROTOCOL)
        self._tasks = [asyncio.create_task(self._send_all()), asyncio.create_task(self._await_init())]

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._is_ending:
            return
        try:
            await self._handle(_message(text_data))
        except Refused as refusal:
            self.end(refusal.code, refusal.reason)
        except Exception as error:
            if domain_error_of(error) is not None:
                return self.end(TRY_LATER, "The database does not answer")
            logger.exception("A message over WebSocket met what nobody foresaw")
            self.end(INTERNAL_ERROR, "Internal server error")

    async def _handle(self, message: Mapping[str, Any]) -> None:
        kind = message.get("type")
        if not isinstance(kind, str) or kind not in self.handlers:
            raise Refused(MALFORMED, "Unknown type of message")
        await getattr(self, self.handlers[kind])(message)

    # What a client says.

    async def _init(self, message: Mapping[str, Any]) -> None:
        if self._has_said_who:
            raise Refused(TOO_MANY, "Too many initialisation requests")
        self._has_said_who = True
        payload = _payload(message)
        header = payload.get("Authorization", payload.get("authorization"))
        if not isinstance(header, str | None):
            raise Refused(MALFORMED, "Authorization is a string")
        try:
            self.credentials = credentials_of(self._request, header)
            self.actor = await known_as(self.credentials)
            await acheck_rate(self.actor)
            connected().enter(self)
        except (Unauthenticated, Forbidden, TooMany) as refusal:
            raise Refused(_code_of(refusal), refusal.message) from None
        self._is_known = True
        self._put(_text("connection_ack"))

    async def _subscribe(self, message: Mapping[str, Any]) -> None:
        if not self._is_known:
            raise Refused(UNAUTHORIZED, "Unauthorized")
        id = _id(message)
        try:
            asked = Asked.of(message.get("payload"))
        except Invalid as refusal:
            raise Refused(MALFORMED, refusal.message) from None
        if id in self._operations:
            raise Refused(ID_IN_USE, f"Subscriber for {id[:40]} already exists")
        if len(self._operations) >= settings.SIGNET_OPERATIONS_PER_CONNECTION:
            return self._put(_text("error", id, encoded([told(_too_many_operations())])))
        self._operations[id] = Operation(self, id, asked)

    async def _complete(self, message: Mapping[str, Any]) -> None:
        operation = self._operations.pop(_id(message), None)
        if operation is not None:
            operation.stop()

    async def _ping(self, message: Mapping[str, Any]) -> None:
        _payload(message)
        self._put(_text("pong"))

    async def _pong(self, message: Mapping[str, Any]) -> None:
        _payload(message)

    # What operations and those who look after rights say.

    @property
    def operations(self) -> list[Operation]:
        """Those that go on."""
        return list(self._operations.values())

    def tell(self, operation: Operation, payload: bytes) -> None:
        """Send what an operation gives."""
        self._put(_text("next", operation.id, payload), operation)

    def over(self, operation: Operation, kind: str, payload: bytes = b"") -> None:
        """Send the last message of an operation; from then on its id is free."""
        if self._operations.get(operation.id) is operation:
            del self._operations[operation.id]
            self._put(_text(kind, operation.id, payload))

    def is_now(self, actor: User | None) -> None:
        """Who it is by now; None: the token was revoked, the session is over, the account is deactivated."""
        if actor is not None:
            self.actor = actor
            return
        refusal = unknown(self.credentials)
        for operation in self.operations:
            operation.refuse(refusal)
        self.end(FORBIDDEN, refusal.message)

    def end(self, code: int, reason: str, *, at_once: bool = False) -> None:
        """End the connection with a code, behind what waits to be sent or instead of it."""
        if self._is_ending:
            return
        self._is_ending = True
        for operation in self.operations:
            operation.stop()
        self._operations.clear()
        self._outbox.close(Farewell(code, reason.encode()[:120].decode(errors="ignore")), at_once=at_once)

    def _put(self, text: str, of: Operation | None = None) -> None:
        if not self._is_ending and not self._outbox.put(Letter(text, of)):
            self.end(TRY_LATER, "Too slow: connect again", at_once=True)

    # Its tasks.

    async def _send_all(self) -> None:
        try:
            while isinstance(letter := await self._outbox.next(), Letter):
                if letter.of is None or not letter.of.is_dropped:
                    await self.send(text_data=letter.text)
            await self.close(letter.code, letter.reason)
        except OSError:  # the client has gone; that is heard as a disconnect
            self._is_ending = True

    async def _await_init(self) -> None:
        await asyncio.sleep(INIT_S)
        if not self._is_known:
            self.end(INIT_TIMEOUT, "Connection initialisation timeout")

    async def _leave(self) -> None:
        self._is_ending = True
        if self._is_known:
            connected().leave(self)
        for operation in self.operations:
            operation.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(one.stopped() for one in self.operations), return_exceptions=True)


def _message(text: str | None) -> Mapping[str, Any]:
    """Raises `Refused`."""
    if text is None:
        raise Refused(MALFORMED, "Messages are text")
    if len(text) > settings.SIGNET_MAX_BODY_BYTES:
        raise Refused(TOO_BIG, "The message is too big")
    try:
        message = parse_json(text.encode())
    except Invalid as refusal:
        raise Refused(MALFORMED, refusal.message) from None
    if not isinstance(message, dict):
        raise Refused(MALFORMED, "A message is an object")
    return message


def _payload(message: Mapping[str, Any]) -> Mapping[str, Any]:
    payload = message.get("payload")
    if payload is None:
        return {}
    if not isinstance(payload, dict):
        raise Refused(MALFORMED, "The payload is an object")
    return payload


def _id(message: Mapping[str, Any]) -> str:
    id = message.get("id")
    if not isinstance(id, str) or not id:
        raise Refused(MALFORMED, "The id is a text")
    return id


def _text(kind: str, id: str = "", payload: bytes = b"") -> str:
    parts = [f'"type":"{kind}"']
    if id:
        parts.append(f'"id":{encoded(id).decode()}')
    if payload:
        parts.append(f'"payload":{payload.decode()}')
    return f"{{{','.join(parts)}}}"


def _code_of(refusal: DomainError) -> int:
    if isinstance(refusal, TooMany):
        return TOO_MANY
    return UNAUTHORIZED if refusal.code == "not_authenticated" else FORBIDDEN


def _too_many_operations() -> TooMany:
    limit = settings.SIGNET_OPERATIONS_PER_CONNECTION
    return TooMany("too_many_operations", _("More than %(limit)d operations at once.") % {"limit": limit})
