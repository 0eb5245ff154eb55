"""Keeps what was learned from recent prompts within a budget of bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

from mlops.runtime.matcher.learning import Lesson


class LessonCache:
    """Lessons by digest of their prompt, least recently used out first. Thread safe."""

    def __init__(self, budget: int) -> None:
        """`budget` in bytes; a lesson larger than all of it is not kept."""
        self._budget = budget
        self._held = 0
        self._lessons: OrderedDict[bytes, tuple[Lesson, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: bytes) -> bool:
        return key in self._lessons

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._held

    def get(self, key: bytes) -> Lesson | None:
        """The lesson of a prompt, if it is still here."""
        with self._lock:
            if key not in self._lessons:
                return None
            self._lessons.move_to_end(key)
            return self._lessons[key][0]

    def put(self, key: bytes, lesson: Lesson) -> None:
        """Keeps a lesson and lets go of the oldest ones that no longer fit."""
        size = lesson.nbytes
        if size > self._budget:
            return
        with self._lock:
            _, replaced = self._lessons.pop(key, (None, 0))
            self._lessons[key] = lesson, size
            self._held += size - replaced
            while self._held > self._budget:
                _, (_, freed) = self._lessons.popitem(last=False)
                self._held -= freed
