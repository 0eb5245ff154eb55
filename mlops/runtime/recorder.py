"""What happens during one execution, recorded in memory: spans, usage, cost.

Engines and nodes open spans themselves (DSPy's callbacks cost about 145 us per predictor). The recorder of the running
execution and the open span travel in context variables, so concurrent branches and DSPy's worker threads find theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from mlops.types import Price, SpanKind, TokenUsage

MAX_TEXT = 20_000
"""Characters of one text that a span keeps."""

MAX_TRACE = 1_000_000
"""Characters of all texts that a trace keeps."""

MAX_SPANS = 2_000


@dataclass(slots=True)
class Span:
    """One step. Times are milliseconds since the execution began; `cut` names the fields that were shortened."""

    id: int
    parent: int | None
    kind: SpanKind
    name: str
    module: str
    start_ms: float
    duration_ms: float | None = None
    input: Any = None
    output: Any = None
    messages: list[dict[str, Any]] | None = None
    model: str = ""
    usage: TokenUsage | None = None
    raw_usage: Mapping[str, Any] | None = None
    cost: int | None = None
    cached: bool = False
    retries: int = 0
    fallback: str = ""
    error: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The span as stored: what is empty is left out."""
        row: dict[str, Any] = {
            "id": self.id,
            "parent": self.parent,
            "kind": self.kind.value,
            "name": self.name,
            "module": self.module,
            "start_ms": round(self.start_ms, 3),
            "duration_ms": None if self.duration_ms is None else round(self.duration_ms, 3),
        }
        for name in ("input", "output", "messages", "model", "cost", "cached", "retries", "fallback", "error", "cut"):
            if (value := getattr(self, name)) not in (None, "", 0, False, [], {}):
                row[name] = value
        if self.kind is SpanKind.LLM:
            row["cost"] = self.cost
        if self.usage is not None:
            row["usage"] = self.usage.as_json()
        if self.raw_usage:
            row["raw_usage"] = dict(self.raw_usage)
        return row | self.attributes


class Recorder:
    """The spans of one execution, its usage by model and its cost in pico-dollars (None once any price is unknown)."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.dropped = 0
        self.by_model: dict[str, TokenUsage] = {}
        self.cost: int | None = 0
        self.prices: dict[str, Price] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.waited_s = 0.0
        """Seconds spent waiting for language models, summed over concurrent calls."""
        self.repeated_secrets: set[str] = set()
        """Secrets of ours that a provider said back; whoever takes the results out of here hides them."""
        self._began = time.perf_counter()
        self._kept = 0

    def now_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1e3

    def add(self, kind: SpanKind, name: str, *, module: str = "", parent: int | None = None) -> Span:
        span = Span(len(self.spans), parent, kind, name, module, self.now_ms())
        if len(self.spans) < MAX_SPANS:
            self.spans.append(span)
        else:
            self.dropped += 1
        return span

    def keep(self, span: Span, name: str, value: Any) -> None:
        """Set a field of `span`, bounded per text and per trace; what is cut is marked."""
        bounded = self._bounded(value)
        if bounded is not value:
            span.cut.append(name)
        setattr(span, name, bounded)

    def meter(self, model: str, usage: TokenUsage, price: Price | None) -> int | None:
        """Count one billed answer; its cost in pico-dollars, or None when the model has no price."""
        self.by_model[model] = self.by_model.get(model, TokenUsage()) + usage
        cost = None if price is None else price.of(usage)
        if price is not None:
            self.prices[price.id] = price
        self.cost = None if cost is None or self.cost is None else self.cost + cost
        return cost

    @property
    def usage(self) -> TokenUsage:
        return sum(self.by_model.values(), TokenUsage())

    def trace(self) -> dict[str, Any]:
        """The trace as stored: `{"spans": [...], "dropped": n}`."""
        return {"spans": [span.as_json() for span in self.spans], "dropped": self.dropped}

    def _bounded(self, value: Any) -> Any:
        if isinstance(value, str):
            size = len(value)
            if size <= MAX_TEXT and self._kept + size <= MAX_TRACE:
                self._kept += size
                return value
            room = max(min(MAX_TEXT, MAX_TRACE - self._kept), 0)
            self._kept += room
            return value[:room] + " [cut]"
        if isinstance(value, Mapping):
            items = {key: self._bounded(item) for key, item in value.items()}
            return value if all(items[key] is item for key, item in value.items()) else items
        if isinstance(value, list | tuple):
            members = [self._bounded(item) for item in value]
            return value if all(new is old for new, old in zip(members, value, strict=True)) else members
        return value


_recorder: ContextVar[Recorder | None] = ContextVar("signet_recorder", default=None)
_parent: ContextVar[Span | None] = ContextVar("signet_span", default=None)


def current_recorder() -> Recorder | None:
    """The recorder of the execution that this code runs for, if any."""
    return _recorder.get()


@contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Make `recorder` the one that spans of this context go to."""
    token = _recorder.set(recorder)
    outer = _parent.set(None)
    try:
        yield recorder
    finally:
        _parent.reset(outer)
        _recorder.reset(token)


@contextmanager
def span(kind: SpanKind, name: str, *, module: str = "", input: Any = None) -> Iterator[Span]:
    """Open a span under the one that is open here. An exception is noted by its type and passes on.

    Outside of `recording` the span goes nowhere, so that nodes and engines run without an execution too.
    """
    recorder = _recorder.get() or Recorder()
    above = _parent.get()
    opened = recorder.add(
        kind, name, module=module or (above.module if above else ""), parent=above.id if above else None
    )
    if input is not None:
        recorder.keep(opened, "input", input)
    token = _parent.set(opened)
    try:
        yield opened
    except BaseException as error:
        opened.error = opened.error or type(error).__name__
        raise
    finally:
        _parent.reset(token)
        opened.duration_ms = recorder.now_ms() - opened.start_ms
