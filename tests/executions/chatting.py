"""Chat requests to this process: through the whole ASGI application, on the process's loop, as a server would do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from config.asgi import application
from executions.services import process

CHAT = "/v1/chat/completions"


@dataclass
class Exchange:
    """What has been sent so far. `leave` closes the connection from the client's side."""

    messages: list[Any] = field(default_factory=list)
    ended: Future[None] | None = None
    _left: asyncio.Event | None = None

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> Mapping[str, str]:
        return {name.decode().lower(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def content(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def events(self) -> list[Any]:
        """The data of each event; the last of a whole stream is `[DONE]`."""
        data = [event.removeprefix("data: ") for event in self.content.decode().split("\n\n") if event]
        return [one if one == "[DONE]" else json.loads(one) for one in data]

    @property
    def text(self) -> str:
        """What all chunks say together."""
        chunks = [one for one in self.events if one != "[DONE]" and one.get("choices")]
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)

    def leave(self) -> None:
        assert self._left is not None
        process.ensure_started().loop.call_soon_threadsafe(self._left.set)

    async def run(self, scope: Any, raw: bytes) -> None:
        self._left = asyncio.Event()
        bodies = iter([{"type": "http.request", "body": raw, "more_body": False}])

        async def receive() -> Any:
            if (body := next(bodies, None)) is not None:
                return body
            assert self._left is not None
            await self._left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.messages.append(message)

        await application(scope, receive, send)


def begun(token: str, content: Any, *, path: str = CHAT, method: str = "POST", **headers: str) -> Exchange:
    """A request whose answer is not waited for."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    named = {"host": "testserver", "content-type": "application/json", "content-length": str(len(raw)), **headers}
    if token:
        named["authorization"] = f"Bearer {token}"
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in named.items()],
    }
    exchange = Exchange()
    exchange.ended = process.ensure_started().submit(exchange.run(scope, raw))
    return exchange


def sent(token: str, content: Any = b"", **options: Any) -> Exchange:
    """A request and all of its answer."""
    exchange = begun(token, content, **options)
    assert exchange.ended is not None
    exchange.ended.result(30)
    return exchange


def chat(text: str | None = "Why?", model: str = "program:answering", **members: Any) -> dict[str, Any]:
    """The body of a chat request with one message of the user, or without one."""
    messages = [] if text is None else [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, **members}
