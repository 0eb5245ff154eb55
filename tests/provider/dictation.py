"""An answer that the test says word by word."""

from __future__ import annotations

import asyncio
import threading

from tests.provider.protocol import Completion, http_chunk
from tests.provider.server import STREAM_END, STREAM_HEAD, Exchange


class Dictation:
    """Answers one streamed request with what `say` says, as it is said, until `end` or `break_off`.

        dictation = Dictation()
        provider.script(dictation)
        dictation.say("[[ ## answer ## ]]\\nIt ")

    Callable from any thread, also before the request has come. `left` is set once the asker has closed the connection.
    """

    def __init__(self) -> None:
        self.left = threading.Event()
        self._said: asyncio.Queue[str | None] | None = None
        self._before: list[str | None] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._is_whole = True

    def say(self, text: str) -> None:
        self._put(text)

    def end(self) -> None:
        """Complete the answer, with its usage."""
        self._put(None)

    def break_off(self) -> None:
        """Close the connection in the middle of the answer."""
        self._is_whole = False
        self._put(None)

    async def __call__(self, exchange: Exchange) -> None:
        said = self._listen()
        text = ""
        exchange.write(STREAM_HEAD + http_chunk(Completion(exchange.body, {}, "stop", {}).opening()))
        try:
            while (part := await said.get()) is not None:
                text += part
                exchange.write(http_chunk(Completion(exchange.body, {}, "stop", {}).said(part)))
        except asyncio.CancelledError:
            self.left.set()
            raise
        if not self._is_whole:
            exchange.close()
            return
        used = exchange.provider.count_usage(exchange.body, {"content": text})
        exchange.provider.billed.append(used)
        closing = Completion(exchange.body, {}, "stop", used).closing()
        exchange.write(b"".join(map(http_chunk, closing)) + STREAM_END)

    def _listen(self) -> asyncio.Queue[str | None]:
        with self._lock:
            self._loop, self._said = asyncio.get_running_loop(), asyncio.Queue()
            for part in self._before:
                self._said.put_nowait(part)
            return self._said

    def _put(self, part: str | None) -> None:
        with self._lock:
            if self._said is None or self._loop is None:
                self._before.append(part)
            else:
                self._loop.call_soon_threadsafe(self._said.put_nowait, part)
