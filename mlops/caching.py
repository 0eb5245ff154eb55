"""A small cache of one process: bounded in entries and in age."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ShortCache(Generic[K, V]):
    """Keeps values for at most `seconds`; the oldest leave when there are more than `size`.

    Safe between threads. A value that was being loaded while `forget` was called is handed out but not kept, so that
    nothing older than the last `forget` stays.
    """

    def __init__(self, *, seconds: float, size: int) -> None:
        self.seconds = seconds
        self.size = size
        self._kept: dict[K, tuple[float, V]] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def get(self, key: K) -> tuple[V] | None:
        """The kept value in a one-tuple (it may be None itself), or None when there is none young enough."""
        found = self._kept.get(key)
        return (found[1],) if found is not None and found[0] > time.monotonic() else None

    def get_or_load(self, key: K, load: Callable[[], V]) -> V:
        if found := self.get(key):
            return found[0]
        generation = self._generation
        value = load()
        with self._lock:
            if generation == self._generation:
                self._kept.pop(key, None)
                self._kept[key] = (time.monotonic() + self.seconds, value)
                while len(self._kept) > self.size:
                    del self._kept[next(iter(self._kept))]
        return value

    def forget(self) -> None:
        with self._lock:
            self._generation += 1
            self._kept.clear()
