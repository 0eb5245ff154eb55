"""What metrics reach outside of themselves, given from above.

A metric is asked in two worlds. An evaluation scores on its event loop (`ascore`), so a judge and an embedding model
have an asynchronous form. An optimizer scores in its own threads, in the middle of DSPy's synchronous code (`score`),
so they have a synchronous one as well. Both forms must give the same answer for the same question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from executions.runtime.metrics.registered import RegisteredMetric
from programs.types import FieldSpec

Vector: TypeAlias = "Sequence[float] | npt.NDArray[np.floating[Any]]"


class Judge(Protocol):
    """A program that rates answers. What it uses is metered by the recorder that is open where it is asked."""

    @property
    def inputs(self) -> Sequence[FieldSpec]: ...

    @property
    def outputs(self) -> Sequence[FieldSpec]: ...

    def ask(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The judge's outputs. Blocks; for threads of an optimizer. Raises `MetricFailed`."""
        ...

    async def aask(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The judge's outputs, on an event loop. Raises `MetricFailed`."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors of equal length, in their order. Raises what `failure_of` explains."""

    def embed(self, texts: Sequence[str]) -> Sequence[Vector]: ...

    async def aembed(self, texts: Sequence[str]) -> Sequence[Vector]: ...


@dataclass(frozen=True, slots=True, eq=False)
class MetricPorts:
    """The world of a metric: each kind needs at most one of these."""

    judge: Judge | None = None
    embedder: Embedder | None = None
    functions: Mapping[str, RegisteredMetric] = field(default_factory=dict)
