"""Who listens to the running execution, and what of each module it is told.

Context variables hold both, as those of the recorder do. What has no turn of its own is not heard: the inner calls of
agents and custom modules, programs that are used as tools, and calls that are made from threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

from dspy.clients.call_context import stream_emitted

from mlops.runtime.recorder import current_recorder
from mlops.sanitiser import hide


class Listener(Protocol):
    """Hears of one execution what happens, on the event loop that runs it. It returns at once and never fails."""

    def started(self, module: str) -> None: ...

    def told(self, module: str, field: str, text: str) -> None: ...

    def completed(self, module: str) -> None: ...


class Reader(Protocol):
    """Finds in an answer that comes in pieces what belongs to which field."""

    def feed(self, text: str) -> Collection[tuple[str, str]] | Iterator[tuple[str, str]]: ...

    def end(self) -> Collection[tuple[str, str]] | Iterator[tuple[str, str]]: ...


ReaderOf: TypeAlias = Callable[[Collection[str]], Reader]


class Turn:
    """A module at work. Of each of its fields is told what its first answer says, or at its end the whole text."""

    def __init__(self, listener: Listener, module: str, fields: Collection[str], *, is_heard: bool) -> None:
        """`is_heard`: whether an answer of its language model is what it gives."""
        self.fields = fields
        self._listener = listener
        self._module = module
        self._is_heard = is_heard
        self._loop = asyncio.get_running_loop()
        self._told: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether the next answer is told. A second one would not be what the reader was told the beginning of."""
        return self._is_heard and not self._told and asyncio.get_running_loop() is self._loop

    def tell(self, field: str, text: str) -> None:
        self._told.add(field)
        if recorder := current_recorder():
            recorder.has_told = True
        stream_emitted()  # DSPy asks no second time for what somebody has read the beginning of
        self._listener.told(self._module, field, text)

    def begin(self) -> None:
        self._listener.started(self._module)

    def end(self, outputs: Mapping[str, Any]) -> None:
        """It has given `outputs`: texts of which nothing was told yet are told whole."""
        recorder = current_recorder()
        secrets = recorder.repeated_secrets if recorder else ()
        for field, value in outputs.items():
            if field not in self._told and isinstance(value, str) and value:
                self.tell(field, hide(value, secrets))
        self._listener.completed(self._module)


_listener: ContextVar[Listener | None] = ContextVar("signet_listener", default=None)
_turn: ContextVar[Turn | None] = ContextVar("signet_turn", default=None)
_reader: ContextVar[ReaderOf | None] = ContextVar("signet_reader", default=None)


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Make `listener` the one that hears of what runs in this context; None is nobody."""
    outer, token = _turn.set(None), _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
        _turn.reset(outer)


def unheard() -> AbstractContextManager[None]:
    """Nobody hears of what runs in this context."""
    return listening(None)


@contextmanager
def turn(module: str, fields: Collection[str], *, is_heard: bool) -> Iterator[Turn | None]:
    """The turn of `module`, None where nobody listens."""
    listener = _listener.get()
    if listener is None:
        yield None
        return
    begun = Turn(listener, module, fields, is_heard=is_heard)
    token = _turn.set(begun)
    begun.begin()
    try:
        yield begun
    finally:
        _turn.reset(token)


@contextmanager
def read_by(reader: ReaderOf) -> Iterator[None]:
    """The answers of this context are in the form that `reader` reads."""
    token = _reader.set(reader)
    try:
        yield
    finally:
        _reader.reset(token)


def open_turn() -> Turn | None:
    """The turn whose answer is to be told now."""
    current = _turn.get()
    return current if current is not None and current.is_open else None


def current_reader() -> ReaderOf | None:
    return _reader.get()
