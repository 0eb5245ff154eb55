"""What every metric can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from executions.runtime.metrics.values import Range, Score


class Scorer(ABC):
    """A metric, ready to score. Shared by concurrent tasks and threads; holds nothing of a single score."""

    range: Range

    @property
    def expected_field(self) -> str | None:
        """The field of the example whose value is the one expected answer; None where there is no such field."""
        return None

    def expectation(self, example: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The part of `example` that it is scored by, itself an example for `score`. Raises `MetricFailed`.

        None, whatever the example, of a metric that asks somebody or looks at more than expected answers.
        """
        return None

    def answers(self, expectation: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
        """The outputs of a program that gives just what is expected."""
        return ()

    @abstractmethod
    def score(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        """Score the `output` of a program, a mapping, for an `example`, the mapping of inputs and expected values.

        For any thread; blocks while it asks a judge, an embedding model or registered code. Raises `MetricFailed`.
        """

    async def ascore(self, example: Mapping[str, Any], output: Mapping[str, Any]) -> Score:
        """The same on an event loop. What asks nobody answers at once."""
        return self.score(example, output)
