"""Optimizers print progress bars, prompts and scores. None of it reaches the output of the process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

_is_silent: ContextVar[bool] = ContextVar("signet_compile_is_silent", default=False)


class _Gate:
    """A text stream that lets nothing through from where a compile runs; others write to it as ever."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return len(text) if _is_silent.get() else self.stream.write(text)

    def flush(self) -> None:
        if not _is_silent.get():
            self.stream.flush()

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _Gates:
    """The gates stand as long as any compile runs in the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._gates: dict[str, _Gate] = {}

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                for name in ("stdout", "stderr"):
                    self._gates[name] = _Gate(getattr(sys, name))
                    setattr(sys, name, self._gates[name])

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                for name, gate in self._gates.items():
                    if getattr(sys, name) is gate:  # somebody else may have redirected it meanwhile
                        setattr(sys, name, gate.stream)
                self._gates = {}


_gates = _Gates()


@contextmanager
def silenced() -> Iterator[None]:
    """Within this context, and in threads that inherit it, nothing is written to stdout and stderr."""
    token = _is_silent.set(True)
    _gates.enter()
    try:
        yield
    finally:
        _gates.leave()
        _is_silent.reset(token)
