"""What is to be sent over a connection: bounded, so that whoever does not read holds up nobody and fills no memory."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops.graphql.operations import Operation

MAX_MESSAGES = 256
MAX_BYTES = 4_000_000
"""A single message may be larger, and counts as half of it: what ends its operation must have room behind it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message; `of` is the operation with which it is dropped."""

    text: str
    of: Operation | None = None


@dataclass(frozen=True, slots=True)
class Farewell:
    """The end of the connection."""

    code: int
    reason: str


class Outbox:
    """Written to by everybody, read by the one that sends."""

    def __init__(self) -> None:
        self._letters: deque[Letter | Farewell] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def put(self, letter: Letter) -> bool:
        """Whether there was room."""
        size = _size_of(letter)
        if len(self._letters) >= MAX_MESSAGES or self._bytes + size > MAX_BYTES:
            return False
        self._letters.append(letter)
        self._bytes += size
        self._filled.set()
        return True

    def close(self, farewell: Farewell, *, at_once: bool) -> None:
        """The last message: behind what was put before, or instead of it."""
        if at_once:
            self._letters.clear()
        self._letters.append(farewell)
        self._filled.set()

    async def next(self) -> Letter | Farewell:
        while not self._letters:
            self._filled.clear()
            await self._filled.wait()
        found = self._letters.popleft()
        if isinstance(found, Letter):
            self._bytes -= _size_of(found)
        return found


def _size_of(letter: Letter) -> int:
    return min(len(letter.text), MAX_BYTES // 2)
