"""Runs real DSPy programs on the example matcher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dspy

from mlops.runtime.matcher import MODEL, AsyncExampleMatcher, ExampleMatcher

ADAPTERS = (dspy.ChatAdapter(), dspy.JSONAdapter())


def matcher_lm(matcher: ExampleMatcher | None = None, **settings: Any) -> Any:
    matcher = matcher or ExampleMatcher()
    engines = {"engine": matcher, "async_engine": AsyncExampleMatcher(matcher)}
    return dspy.LM(MODEL, cache=False, num_retries=0, **engines, **settings)


@contextmanager
def matching(adapter: Any = ADAPTERS[0], lm: Any = None) -> Iterator[Any]:
    lm = lm or matcher_lm()
    with dspy.context(lm=lm, adapter=adapter, trace=None):
        yield lm


def predictor(signature: Any, demos: Sequence[dict[str, Any]] = ()) -> Any:
    program = dspy.Predict(signature)
    program.demos = [dict(demo) for demo in demos]
    return program


def request_of(
    signature: Any,
    inputs: dict[str, Any],
    demos: Sequence[dict[str, Any]] = (),
    adapter: Any = ADAPTERS[0],
    **config: Any,
) -> Any:
    """The very request that DSPy would send, to give it to the engine by hand."""
    seen: list[Any] = []

    class Recorder(ExampleMatcher):
        def complete(self, request: Any) -> Any:
            seen.append(request)
            return super().complete(request)

    with matching(adapter, matcher_lm(Recorder(), **config)):
        predictor(signature, demos)(**inputs)
    return seen[0]
