"""Closed-loop HTTP load: every client sends its next request when the last one has been answered.

Raw asyncio connections, so that the generator costs little beside what it measures. It runs as a process of its own and
prints one JSON line: `python -m benchmarks.load URL --clients 64 --seconds 8 --body '{...}' --bearer TOKEN`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from dataclasses import asdict, dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop


@dataclass(frozen=True)
class Load:
    """What one measurement found; times in milliseconds.

    `answered` counts every good answer, those before and after the measured window included: CPU time is taken over the
    generator's whole life and divided by it.
    """

    completed: int
    answered: int
    per_second: float
    p50_ms: float
    p95_ms: float
    errors: int
    first_error: str


@dataclass
class _Tally:
    """Good answers inside the measured window, and when to stop: at its end or after a number of requests."""

    opens: float
    closes: float
    requests_left: float
    took: list[float] = field(default_factory=list)
    answered: int = 0
    last: float = 0.0
    errors: int = 0
    first_error: str = ""

    def may_send(self) -> bool:
        if self.requests_left <= 0 or time.perf_counter() >= self.closes:
            return False
        self.requests_left -= 1
        return True

    def count(self, began: float, status: int, content: bytes) -> None:
        ended = time.perf_counter()
        if not 200 <= status < 300:
            self.fail(f"{status} {content[:200].decode(errors='replace')}")
            return
        self.answered += 1
        if self.opens <= ended < self.closes:
            self.took.append((ended - began) * 1000)
            self.last = ended

    def fail(self, reason: str) -> None:
        self.errors += 1
        self.first_error = self.first_error or reason

    def result(self) -> Load:
        seconds = (
            min(self.closes, self.last) - self.opens if math.isfinite(self.requests_left) else self.closes - self.opens
        )
        return Load(
            completed=len(self.took),
            answered=self.answered,
            per_second=len(self.took) / seconds if self.took else 0.0,
            p50_ms=percentile(self.took, 0.50),
            p95_ms=percentile(self.took, 0.95),
            errors=self.errors,
            first_error=self.first_error,
        )


class _Client(asyncio.Protocol):
    """One client in a loop of request and response; it keeps its connection where the server does."""

    def __init__(self, address: tuple[str, int], request: bytes, tally: _Tally) -> None:
        self._address, self._request, self._tally = address, request, tally
        self._buffer, self._began, self._waiting = bytearray(), 0.0, False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, *self._address)
        except OSError as error:
            self._tally.fail(f"no connection: {error}")
            self.done.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._tally.fail(f"connection lost: {exc}")
            self._finish()
        elif not self.done.done():
            self._reconnecting = asyncio.get_running_loop().create_task(self.connect())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        if len(self._buffer) < head_end + 4 + _content_length(head):
            return
        self._tally.count(self._began, int(head[9:12]), bytes(self._buffer[head_end + 4 :]))
        self._buffer.clear()
        self._waiting = False
        if b"connection: close" in head:
            self._transport.close()
        else:
            self._send_next()

    def _send_next(self) -> None:
        if not self._tally.may_send():
            self._finish()
            return
        self._began, self._waiting = time.perf_counter(), True
        self._transport.write(self._request)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)
        self._transport.close()


def _content_length(head: bytes) -> int:
    """Every server measured here states the length; one that does not is a mistake in the set-up."""
    return int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def request_bytes(url: str, body: str, bearer: str = "") -> bytes:
    """One POST as it goes over the wire."""
    parts = urlsplit(url)
    authorization = f"Authorization: Bearer {bearer}\r\n" if bearer else ""
    return (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n{authorization}"
        f"Content-Length: {len(body.encode())}\r\n\r\n{body}"
    ).encode()


async def generate(
    url: str,
    request: bytes,
    *,
    clients: int,
    warm_up_s: float,
    seconds: float,
    requests: float = math.inf,
    ramp_s: float = 0.0,
) -> Load:
    """Drive the address with so many clients; measure after the warm-up, until time or requests are used up.

    The clients begin evenly over `ramp_s`: of clients that begin together, waves of answers would or would not fall
    into the measured window.
    """
    parts = urlsplit(url)
    opens = time.perf_counter() + warm_up_s
    tally = _Tally(opens, opens + seconds, requests)
    running = [_Client((parts.hostname or "", parts.port or 80), request, tally) for _ in range(clients)]
    for client in running:
        await client.connect()
        await asyncio.sleep(ramp_s / clients)
    await asyncio.wait([client.done for client in running], timeout=warm_up_s + seconds + 15)
    return tally.result()


def main() -> None:
    parser = argparse.ArgumentParser(description="closed-loop HTTP load")
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--ramp", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--requests", type=int, help="stop after so many; measured from the first one, without warm-up")
    parser.add_argument("--body", default="{}")
    parser.add_argument("--bearer", default="")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = runner.run(
            generate(
                options.url,
                request_bytes(options.url, options.body, options.bearer),
                clients=options.clients,
                warm_up_s=0.0 if options.requests else options.warm_up,
                seconds=options.seconds,
                requests=options.requests or math.inf,
                ramp_s=options.ramp,
            )
        )
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    main()
