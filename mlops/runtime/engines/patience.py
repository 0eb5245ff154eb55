"""When to try again, whom to ask next, when to give up: decided here, without a clock of its own and without I/O."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from mlops.types import LanguageModelSpec, ModelErrorCode, ModelFailure

RETRIED = frozenset({ModelErrorCode.RATE_LIMITED, ModelErrorCode.PROVIDER_UNAVAILABLE, ModelErrorCode.TIMEOUT})
FALLEN_BACK = RETRIED | {ModelErrorCode.AUTHENTICATION, ModelErrorCode.CONTEXT_WINDOW}

FIRST_WAIT_S = 0.5
"""The first wait before a retry is drawn from 0 to this; the range doubles with every retry."""

LONGEST_WAIT_S = 20.0
"""No wait before a retry is longer, whatever the provider asks for: the fallback is asked instead."""


class Patience:
    """The course of one call through its chain of models, within the deadline of the first."""

    def __init__(
        self,
        chain: Sequence[LanguageModelSpec],
        *,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._chain = chain
        self._now = now
        self._draw = draw
        self._ends = now() + chain[0].deadline_s
        self._position = 0
        self._tries = 0
        self.retries = 0
        self.failures: list[ModelFailure] = []

    @property
    def position(self) -> int:
        """Which model of the chain is to be asked."""
        return self._position

    @property
    def fallback(self) -> str:
        """The name of the model that stands in, empty while it is the first."""
        return self._chain[self._position].name if self._position else ""

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, 0 when it is over."""
        return max(self._ends - self._now(), 0.0)

    @property
    def attempt_s(self) -> float:
        """Seconds that the next attempt may take as a whole."""
        return min(self._chain[self._position].timeout_s, self.left_s)

    def wait_after(self, failure: ModelFailure) -> float | None:
        """Seconds to wait before the next attempt, or None when there is none to be made."""
        self.failures.append(failure)
        if failure.code in RETRIED and self._tries < self._chain[self._position].max_retries:
            wait = self._wait(failure)
            if wait <= LONGEST_WAIT_S and wait < self.left_s:
                self._tries += 1
                self.retries += 1
                return wait
        if failure.code in FALLEN_BACK and self._position + 1 < len(self._chain) and self.left_s > 0:
            self._position += 1
            self._tries = 0
            return 0.0
        return None

    def _wait(self, failure: ModelFailure) -> float:
        jittered = self._draw(0.0, min(FIRST_WAIT_S * 2**self._tries, LONGEST_WAIT_S))
        if failure.retry_after_s is None:
            return jittered
        return max(failure.retry_after_s, 0.0) + jittered / 10  # never earlier than asked; spread, so not all at once


def flattened(spec: LanguageModelSpec) -> list[LanguageModelSpec]:
    """The model and its fallbacks in the order they are asked, their own fallbacks after each; no model twice."""
    chain: list[LanguageModelSpec] = []
    _flatten(spec, chain, set())
    return chain


def _flatten(spec: LanguageModelSpec, chain: list[LanguageModelSpec], seen: set[str]) -> None:
    if spec.id in seen:
        return
    seen.add(spec.id)
    chain.append(spec)
    for fallback in spec.fallbacks:
        _flatten(fallback, chain, seen)
