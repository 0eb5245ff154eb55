"""A client of the ASGI application that reads an answer while it comes, and may leave."""

from __future__ import annotations

import asyncio
import json
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from executions.services import process

PATIENCE_S = 20.0

Event = tuple[str, dict[str, Any]]


class Reader:
    """One POST request, on the loop of this process, as a server would make it."""

    def __init__(self, application: Callable[..., Any], path: str, raw: bytes, **headers: str) -> None:
        self._here = process.ensure_started()
        self._sent: queue.Queue[dict[str, Any]] = queue.Queue()
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": raw, "more_body": False})
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *pairs],
        }
        self.ended: Future[None] = self._here.submit(application(scope, self._incoming.get, self._send))
        start = self._next()
        self.status: int = start["status"]
        self.headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}

    async def _send(self, message: dict[str, Any]) -> None:
        self._sent.put(message)

    def _next(self) -> dict[str, Any]:
        return self._sent.get(timeout=PATIENCE_S)

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, to its end."""
        while True:
            message = self._next()
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    def body(self) -> Any:
        return json.loads(b"".join(self.chunks()))

    def events(self) -> Iterator[Event]:
        """Server-sent events; comments are passed over."""
        for chunk in self.chunks():
            if not chunk.startswith(b":"):
                yield event_of(chunk)

    def disconnect(self) -> None:
        """Close the connection."""
        self._here.loop.call_soon_threadsafe(self._incoming.put_nowait, {"type": "http.disconnect"})

    def leave(self) -> None:
        """Close the connection, and wait until the application has seen it."""
        self.disconnect()
        self.ended.result(PATIENCE_S)


def event_of(chunk: bytes) -> Event:
    name, data, *rest = chunk.decode().split("\n")
    assert rest == ["", ""]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))
