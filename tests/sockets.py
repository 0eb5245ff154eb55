"""A WebSocket client of the tests that speaks to the application itself: no network, and every event in its order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from config.asgi import application

PATIENCE_S = 10
PROTOCOL = "graphql-transport-ws"


@dataclass
class Conversation:
    """A connection from its handshake to its end. `reads` is whether the client takes what it is sent."""

    headers: Mapping[str, str] = field(default_factory=dict)
    protocols: Sequence[str] = (PROTOCOL,)
    path: str = "/graphql/ws/"
    reads: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.reads.set()
        headers = {"host": "testserver", **self.headers}
        scope = {
            "type": "websocket", "path": self.path, "raw_path": self.path.encode(), "query_string": b"",
            "scheme": "ws", "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "subprotocols": list(self.protocols), "client": ("127.0.0.1", 1), "server": ("testserver", 80),
        }  # fmt: skip
        self._in.put_nowait({"type": "websocket.connect"})
        self._running = asyncio.create_task(application(scope, self._in.get, self._send))
        self.opened = await self._next()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        await asyncio.wait_for(self._running, PATIENCE_S)  # raises what the application raised

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        await self.reads.wait()
        self._out.put_nowait(message)
        if message["type"] == "websocket.close":
            self.leave()

    async def _next(self) -> MutableMapping[str, Any]:
        return await asyncio.wait_for(self._out.get(), PATIENCE_S)

    def leave(self) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1000})

    def say(self, message: Any) -> None:
        """A message; texts and bytes go as they are."""
        if isinstance(message, bytes):
            return self._in.put_nowait({"type": "websocket.receive", "bytes": message})
        text = message if isinstance(message, str) else json.dumps(message)
        self._in.put_nowait({"type": "websocket.receive", "text": text})

    async def hear(self) -> Any:
        """The next message; the code of the end as a number."""
        message = await self._next()
        return message["code"] if message["type"] == "websocket.close" else json.loads(message["text"])

    async def introduce(self, token: str) -> None:
        self.say({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        assert await self.hear() == {"type": "connection_ack"}

    def subscribe(self, query: str, id: str = "1", **payload: Any) -> None:
        self.say({"type": "subscribe", "id": id, "payload": {"query": query, **payload}})

    def nothing_heard(self) -> bool:
        return self._out.empty()
