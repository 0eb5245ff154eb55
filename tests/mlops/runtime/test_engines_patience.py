"""When to try again, whom to ask next, when to give up."""

from __future__ import annotations

from typing import Any

import pytest

from mlops.runtime.engines.patience import LONGEST_WAIT_S, Patience, flattened
from mlops.types import LanguageModelSpec, ModelErrorCode, ModelFailure

Code = ModelErrorCode


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def spec(name: str = "openai/a", **changes: Any) -> LanguageModelSpec:
    return LanguageModelSpec(id=name, name=name, **changes)


def patience(*chain: LanguageModelSpec, clock: Clock | None = None, drawn: float = 1.0) -> Patience:
    """`drawn` is where in its range every jittered wait falls, from 0 to 1."""
    return Patience(chain, now=clock or Clock(), draw=lambda low, high: low + (high - low) * drawn)


def failing(code: ModelErrorCode = Code.PROVIDER_UNAVAILABLE, retry_after_s: float | None = None) -> ModelFailure:
    return ModelFailure(code, "it failed", "openai/a", retry_after_s)


def test_waits_grow_up_to_a_bound_and_then_end() -> None:
    waiting = patience(spec(max_retries=8, deadline_s=3600))
    waits = [waiting.wait_after(failing()) for _ in range(9)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, None]
    assert waiting.retries == 8


def test_waits_are_drawn_from_the_whole_range() -> None:
    assert patience(spec(), drawn=0.0).wait_after(failing()) == 0.0
    assert patience(spec(), drawn=0.5).wait_after(failing()) == 0.25


@pytest.mark.parametrize("asked", [3.0, 15.0])
def test_provider_is_given_the_time_it_asks_for(asked: float) -> None:
    wait = patience(spec()).wait_after(failing(Code.RATE_LIMITED, asked))
    assert wait is not None
    assert asked <= wait <= asked + 0.1


def test_no_wait_beyond_the_longest() -> None:
    assert patience(spec(deadline_s=3600)).wait_after(failing(Code.RATE_LIMITED, LONGEST_WAIT_S + 1)) is None


def test_no_wait_beyond_the_deadline() -> None:
    clock = Clock()
    waiting = patience(spec(deadline_s=10), clock=clock)
    clock.time += 9.8
    assert waiting.left_s == pytest.approx(0.2)
    assert waiting.wait_after(failing()) is None


def test_long_wait_goes_to_the_fallback_at_once() -> None:
    waiting = patience(spec(), spec("openai/b"))
    assert waiting.wait_after(failing(Code.RATE_LIMITED, 3600)) == 0.0
    assert (waiting.position, waiting.fallback, waiting.retries) == (1, "openai/b", 0)


def test_each_model_has_its_own_retries() -> None:
    waiting = patience(spec(max_retries=1), spec("openai/b", max_retries=2))
    waits = [waiting.wait_after(failing()) for _ in range(5)]
    assert waits == [0.5, 0.0, 0.5, 1.0, None]
    assert (waiting.retries, waiting.fallback) == (3, "openai/b")


@pytest.mark.parametrize("code", [Code.AUTHENTICATION, Code.CONTEXT_WINDOW])
def test_no_retry_but_a_fallback(code: ModelErrorCode) -> None:
    waiting = patience(spec(), spec("openai/b"))
    assert waiting.wait_after(failing(code)) == 0.0
    assert (waiting.fallback, waiting.retries) == ("openai/b", 0)


@pytest.mark.parametrize("code", [Code.INVALID_REQUEST, Code.UNKNOWN, Code.UNPARSABLE_OUTPUT])
def test_neither_retry_nor_fallback(code: ModelErrorCode) -> None:
    waiting = patience(spec(), spec("openai/b"))
    assert waiting.wait_after(failing(code)) is None
    assert waiting.fallback == ""


def test_no_fallback_after_the_deadline() -> None:
    clock = Clock()
    waiting = patience(spec(deadline_s=10), spec("openai/b"), clock=clock)
    clock.time += 10
    assert (waiting.attempt_s, waiting.wait_after(failing(Code.TIMEOUT))) == (0.0, None)


def test_attempt_is_bounded_by_its_model_and_by_what_is_left() -> None:
    clock = Clock()
    waiting = patience(spec(timeout_s=4, deadline_s=10), spec("openai/b", timeout_s=60, deadline_s=600), clock=clock)
    assert waiting.attempt_s == 4
    waiting.wait_after(failing(Code.AUTHENTICATION))
    clock.time += 3
    assert waiting.attempt_s == 7  # the deadline is the first model's


def test_chain_is_flat_and_names_no_model_twice() -> None:
    shared = spec("openai/shared")
    second = spec("openai/second", fallbacks=(shared,))
    third = spec("openai/third", fallbacks=(shared, spec("openai/first")))
    first = spec("openai/first", fallbacks=(second, third))
    assert [link.name for link in flattened(first)] == [
        "openai/first",
        "openai/second",
        "openai/shared",
        "openai/third",
    ]
