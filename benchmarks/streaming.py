"""How long a chunk of the provider takes through this product to whoever reads the execution.

The provider of this scenario runs in this process and says nothing but the time, every 20 ms, so that each piece tells
when it was said. The readers are here too: what both of them cost is in the figures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.load import percentile, request_bytes
from benchmarks.systems import System
from tests.provider import Exchange, Provider
from tests.provider.protocol import Completion, http_chunk
from tests.provider.server import STREAM_END, STREAM_HEAD

EVERY_S = 0.02
AT_ONCE = (1, 64)
"""Readers at the same time."""


@dataclass
class Lags:
    """Milliseconds from the provider's writing to the reader's reading, of every chunk that came."""

    milliseconds: list[float] = field(default_factory=list)
    incomplete: int = 0
    """Streams that did not end with a completed execution."""

    def figures(self) -> dict[str, float]:
        return {
            "lag_ms": percentile(self.milliseconds, 0.5),
            "lag_p95_ms": percentile(self.milliseconds, 0.95),
            "chunks": float(len(self.milliseconds)),
            "errors": float(self.incomplete),
        }


def measured(system: System, provider: Provider, readers: int, seconds: float) -> Lags:
    """Let `readers` read one execution each, which takes `seconds`."""
    chunks = int(seconds / EVERY_S)

    async def tells_the_time(exchange: Exchange) -> None:
        completion = Completion(exchange.body, {}, "stop", exchange.provider.count_usage(exchange.body, {}))
        exchange.write(STREAM_HEAD + http_chunk(completion.opening()))
        exchange.write(http_chunk(completion.said("[[ ## reasoning ## ]]\nIt ticks.\n\n[[ ## answer ## ]]\n")))
        for _ in range(chunks):
            await asyncio.sleep(EVERY_S)
            exchange.write(http_chunk(completion.said(f" {time.monotonic_ns()}")))
        exchange.write(b"".join(map(http_chunk, completion.closing())) + STREAM_END)

    provider.script(*[tells_the_time] * readers)
    lags = Lags()
    asyncio.run(_all(system, readers, lags))
    return lags


async def _all(system: System, readers: int, lags: Lags) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(readers):
            group.create_task(_one(system, lags))


async def _one(system: System, lags: Lags) -> None:
    state = ""
    async for name, data in _events(system):
        if name == "piece" and data["field"] == "answer":
            now = time.monotonic_ns()
            lags.milliseconds += [(now - int(said)) / 1e6 for said in data["text"].split()]
        elif name == "result":
            state = data["state"]
    lags.incomplete += state != "completed"


async def _events(system: System) -> AsyncIterator[tuple[str, dict[str, str]]]:
    parts = urlsplit(system.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = b"accept: text/event-stream\r\nconnection: close\r\n"
    writer.write(
        request_bytes(system.url, system.body("sync"), bearer=system.bearer).replace(b"\r\n", b"\r\n" + head, 1)
    )
    name = ""
    try:
        while line := await reader.readline():
            if line.startswith(b"event: "):
                name = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                yield name, json.loads(line[6:])
    finally:
        writer.close()
