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
    nothing older than the last `forget` stays. A value is as old as the moment at which its loading began.
    """

    def __init__(self, *, seconds: float, size: int) -> None:
        self.seconds = seconds
        self.size = size
        self._kept: dict[K, tuple[float, V]] = {}
        self._generation = 0
        self._lock = threading.Lock()

    def get(self, key: K, younger_than_s: float | None = None) -> tuple[V] | None:
        """The kept value in a one-tuple (it may be None itself), or None when there is none young enough."""
        found = self._kept.get(key)
        limit = self.seconds if younger_than_s is None else younger_than_s
        return (found[1],) if found is not None and time.monotonic() - found[0] < limit else None

    def get_or_load(self, key: K, load: Callable[[], V], younger_than_s: float | None = None) -> V:
        if found := self.get(key, younger_than_s):
            return found[0]
        generation, began = self._generation, time.monotonic()
        value = load()
        with self._lock:
            if generation == self._generation:
                self._kept.pop(key, None)
                self._kept[key] = (began, value)
                while len(self._kept) > self.size:
                    del self._kept[next(iter(self._kept))]
        return value

    def discard(self, key: K) -> None:
        """Drop what is kept under `key`, if anything is."""
        with self._lock:
            self._kept.pop(key, None)

    def forget(self) -> None:
        with self._lock:
            self._generation += 1
            self._kept.clear()
