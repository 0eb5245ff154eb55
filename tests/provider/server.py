"""The server: connections, exchanges, and the provider that answers them."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

import orjson

from tests.provider.answers import VECTOR_LENGTH, message_text, vector_of, well_formed_answer
from tests.provider.protocol import Completion, Json, http_chunk, response_head, token_usage

STREAM_HEAD = response_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
STREAM_END = b"0\r\n\r\n"

Answer = str | Callable[[Json], str]
Behaviour = Callable[["Exchange"], Awaitable[None]]

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for zero seconds: close() sends RST


@dataclass(frozen=True)
class Received:
    """One request for a chat completion or for embeddings as it arrived; header names in lower case."""

    body: Json
    headers: dict[str, str]


@dataclass
class Exchange:
    """One request and the connection that waits for its response."""

    provider: Provider
    connection: _Connection
    body: Json

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Write one whole response."""
        self.write(response_head(status, {"content-length": str(len(content)), **(headers or {})}) + content)

    def write(self, data: bytes) -> None:
        """Write raw bytes, which need not be a whole or correct response."""
        self.connection.transport.write(data)

    def complete(self, message: Json, finish_reason: str, usage: Json | None = None) -> None:
        """Send a chat completion, streamed when the request asks for that."""
        counted = usage or self.provider.count_usage(self.body, message)
        self.provider.billed.append(counted)
        completion = Completion(self.body, message, finish_reason, counted)
        if self.body.get("stream"):
            self.write(STREAM_HEAD + b"".join(http_chunk(event) for event in completion.events()) + STREAM_END)
        else:
            self.send(200, orjson.dumps(completion.whole()))

    def embed(self, vectors: Sequence[Any] | None = None, usage: Json | None = None) -> None:
        """Send `vectors`, or those of the texts that were asked for."""
        texts, length = self.body["input"], self.body.get("dimensions") or VECTOR_LENGTH
        given = [vector_of(text, length) for text in texts] if vectors is None else vectors
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(given)]
        tokens = 1 + sum(len(text) for text in texts) // 4
        counted = usage if usage is not None else {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "model": self.body["model"], "data": data, "usage": counted}
        self.send(200, orjson.dumps(answer))

    def answer(self) -> None:
        """Answer as a well-behaved provider does."""
        if "input" in self.body:
            self.embed()
        else:
            self.complete({"content": self.provider.answer_to(self.body)}, "stop")

    def close(self) -> None:
        self.connection.transport.close()

    def reset(self) -> None:
        """Break the connection with RST instead of FIN."""
        raw = self.connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.connection.transport.abort()


class Provider:
    """The server. As a context manager it runs in a thread with an event loop of its own.

    `latency_s` delays every normal answer; `cached_tokens` is billed as the cached part of every prompt (never more
    than the prompt); `keep` bounds how many requests are remembered (None: all of them). `billed` is the usage of every
    completion it has sent, whatever became of it.
    """

    def __init__(self, *, port: int = 0, latency_s: float = 0.0, keep: int | None = None) -> None:
        self.latency_s = latency_s
        self.cached_tokens = 0
        self.billed: deque[Json] = deque(maxlen=keep)
        self.in_flight = 0
        self.max_in_flight = 0
        self._port = port
        self._received: deque[Received] = deque(maxlen=keep)
        self._script: deque[Behaviour] = deque()
        self._answer: Answer = well_formed_answer
        self._connections: set[_Connection] = set()

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def requests(self) -> list[Received]:
        """The requests for completions and embeddings so far, oldest first."""
        return list(self._received)

    def answer(self, answer: Answer) -> None:
        """Answer every following request with this text, or with what the callable makes of the request's body."""
        self._answer = answer

    def script(self, *behaviours: Behaviour) -> None:
        """Queue one behaviour for each of the next requests; afterwards the provider answers normally again."""
        self._script.extend(behaviours)

    def answer_to(self, body: Json) -> str:
        return self._answer if isinstance(self._answer, str) else self._answer(body)

    def count_usage(self, body: Json, message: Json) -> Json:
        """Deterministic token counts: a quarter of the characters, at least one."""
        prompt = 1 + sum(len(message_text(part)) for part in body.get("messages") or []) // 4
        completion = 1 + len(message.get("content") or orjson.dumps(message)) // 4
        return token_usage(prompt, completion, min(self.cached_tokens, prompt))

    def next_behaviour(self, received: Received) -> Behaviour | None:
        """Record a request; what the script says to it, if anything."""
        self._received.append(received)
        return self._script.popleft() if self._script else None

    async def listen(self) -> asyncio.Server:
        """Open the port on the running loop."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Connection(self, self._connections), "127.0.0.1", self._port, backlog=2048
        )
        self._port = server.sockets[0].getsockname()[1]
        return server

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(self.listen())
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.transport.abort()
        while self._connections:
            await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One keep-alive connection: reads whole requests, one at a time, and answers them in order."""

    transport: asyncio.Transport

    def __init__(self, provider: Provider, connections: set[_Connection]) -> None:
        self._provider, self._connections = provider, connections
        self._buffer = bytearray()
        self._work: asyncio.Task[None] | asyncio.TimerHandle | None = None
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._work:
            self._work.cancel()
        if self._busy:
            self._finish()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._read_request()

    def _read_request(self) -> None:
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        request_line, *lines = self._buffer[:head_end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        end = head_end + 4 + int(headers.get("content-length", 0))
        if len(self._buffer) < end:
            return
        content = bytes(self._buffer[head_end + 4 : end])
        del self._buffer[:end]
        self._route(request_line.rpartition(" ")[0], headers, content)

    def _route(self, target: str, headers: dict[str, str], content: bytes) -> None:
        exchange = Exchange(self._provider, self, orjson.loads(content) if content else {})
        if target in ("POST /v1/chat/completions", "POST /v1/embeddings"):
            self._ask(exchange, Received(exchange.body, headers))
        elif target == "GET /v1/models":
            exchange.send(
                200, orjson.dumps({"object": "list", "data": [{"id": "stub", "object": "model", "owned_by": "tests"}]})
            )
        elif target == "POST /latency":
            self._provider.latency_s = exchange.body["latency_ms"] / 1000
            exchange.send(200, b"{}")
        else:
            exchange.send(
                404, b'{"error": {"message": "no such address", "type": "error", "param": null, "code": null}}'
            )

    def _ask(self, exchange: Exchange, received: Received) -> None:
        self._busy = True
        self._provider.in_flight += 1
        self._provider.max_in_flight = max(self._provider.max_in_flight, self._provider.in_flight)
        behaviour, loop = self._provider.next_behaviour(received), asyncio.get_running_loop()
        if behaviour:
            self._work = loop.create_task(self._behave(behaviour, exchange))
        elif self._provider.latency_s:  # a timer instead of a task: hundreds of requests may be waiting
            self._work = loop.call_later(self._provider.latency_s, self._answer, exchange)
        else:
            self._answer(exchange)

    async def _behave(self, behaviour: Behaviour, exchange: Exchange) -> None:
        await behaviour(exchange)
        self._next()

    def _answer(self, exchange: Exchange) -> None:
        exchange.answer()
        self._next()

    def _next(self) -> None:
        self._finish()
        if not self.transport.is_closing():
            self._read_request()

    def _finish(self) -> None:
        self._busy, self._work = False, None
        self._provider.in_flight -= 1
