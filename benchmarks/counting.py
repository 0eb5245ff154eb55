"""A relay in front of PostgreSQL that counts what is asked through it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

QUERY = ord("Q")
"""The first byte of a message of psycopg2 that is a statement; it sends one at a time."""


class CountingRelay:
    """Serves in a thread for as long as the block lasts; `url` is that of the database through it."""

    def __init__(self, database_url: str) -> None:
        self._target = urlsplit(database_url)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.statements = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def url(self) -> str:
        user = self._target.netloc.rpartition("@")[0]
        return urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{self._port}"))

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._target.hostname or "127.0.0.1", self._target.port or 5432
        inner_reader, inner_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(self._pump(reader, inner_writer, is_asking=True), self._pump(inner_reader, writer))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_asking: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.statements += is_asking and data[0] == QUERY
                writer.write(data)
                await writer.drain()
        writer.close()
