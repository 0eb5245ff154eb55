"""What happens during one execution, recorded in memory: spans, usage, cost.

Engines and nodes open spans themselves (DSPy's callbacks cost about 145 us per predictor). The recorder of the running
execution and the open span travel in context variables, so concurrent branches and DSPy's worker threads find theirs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
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

MAX_COST = 10**18
"""Pico-dollars. A million dollars for one execution is a mistake of somebody's, and sums of more fit into no column."""


@dataclass(slots=True)
class Span:
    """One step. Times are milliseconds since the execution began; `cut` names the fields that were shortened.

    What people and providers said is in no `repr`: until the end of the execution it may hold a secret that came back.
    """

    id: int
    parent: int | None
    kind: SpanKind
    name: str
    module: str
    start_ms: float
    duration_ms: float | None = None
    input: Any = field(default=None, repr=False)
    output: Any = field(default=None, repr=False)
    messages: list[dict[str, Any]] | None = field(default=None, repr=False)
    model: str = ""
    usage: TokenUsage | None = None
    raw_usage: Mapping[str, Any] | None = field(default=None, repr=False)
    cost: int | None = None
    cached: bool = False
    retries: int = 0
    fallback: str = ""
    error: str = field(default="", repr=False)
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
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
        if self.kind in (SpanKind.LLM, SpanKind.EMBEDDING):
            row["cost"] = self.cost
        if self.usage is not None:
            row["usage"] = self.usage.as_json()
        if self.raw_usage:
            row["raw_usage"] = dict(self.raw_usage)
        return row | self.attributes


class Recorder:
    """The spans of one execution, its usage and what it cost by model, as far as prices tell."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.dropped = 0
        self.by_model: dict[str, TokenUsage] = {}
        self.known_costs: dict[str, int] = {}
        """Pico-dollars by model, of the requests whose cost a price tells; never more than `MAX_COST` together."""
        self.unpriced: dict[str, int] = {}
        """By model the requests whose cost no price tells, where there are any."""
        self.prices: dict[str, None] = {}
        """Ids of the price rows that were used, in the order of their first use."""
        self.models: dict[str, dict[str, Any]] = {}
        self.waited_s = 0.0
        """Seconds spent waiting for language models, summed over concurrent calls."""
        self.has_told = False
        """Whether somebody was told something of an output while it came."""
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
        """Count what was billed; its cost in pico-dollars, or None when there is no price that covers it, or when
        nobody would believe what all would cost with it. What was known before stays known."""
        known = self.by_model.get(model)
        self.by_model[model] = usage if known is None else known + usage
        if price is not None:
            self.prices[price.id] = None
        self.known_costs.setdefault(model, 0)
        cost = price.of(usage) if price is not None and price.covers(usage) else None
        if cost is None or self.known_cost + cost > MAX_COST:
            self.unpriced[model] = self.unpriced.get(model, 0) + 1
            return None
        self.known_costs[model] += cost
        return cost

    def go_on_from(self, token_usage: Mapping[str, Any], prices: Iterable[str]) -> None:
        """Count on from what an earlier attempt of the execution has used, as its row tells it."""
        for model, lines in token_usage.get("by_model", {}).items():
            self.by_model[model] = TokenUsage.from_json(lines)
            cost = lines.get("cost")
            self.known_costs[model] = lines.get("known_cost", 0) if cost is None else cost
            if cost is None:
                self.unpriced[model] = 1  # at least, and how many does not matter
        self.prices.update(dict.fromkeys(prices))

    @property
    def cost(self) -> int | None:
        """Pico-dollars of all models together; None once that of any request is unknown."""
        return None if self.unpriced else self.known_cost

    @property
    def known_cost(self) -> int:
        """Pico-dollars of the requests whose cost is known."""
        return sum(self.known_costs.values())

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
