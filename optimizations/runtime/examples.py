"""Examples as DSPy takes them, made when an optimizer takes them: one that picks few of many holds no others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

import dspy

ExampleData = tuple[str, Mapping[str, Any]]
"""An example's id and its data: inputs and expected outputs by field name."""


class Examples(Sequence[dspy.Example]):
    """`rows` in `order` (None: as they come), each turned into an example by `make` whenever it is taken."""

    def __init__(
        self,
        rows: Sequence[ExampleData],
        make: Callable[[str, Mapping[str, Any]], dspy.Example],
        order: Sequence[int] | None = None,
    ) -> None:
        self._rows, self._make = rows, make
        self._order = range(len(rows)) if order is None else order
        self._is_in_order = order is None

    def shuffled(self, seed: int) -> Examples:
        """The same examples in an order that `seed` decides."""
        return Examples(self._rows, self._make, random.Random(seed).sample(self._order, len(self)))  # noqa: S311  # no secret

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[dspy.Example]:
        """All of them, which are read together."""
        if self._is_in_order:
            return (self._make(*row) for row in self._rows)
        rows = list(self._rows)
        return (self._make(*rows[index]) for index in self._order)

    @overload
    def __getitem__(self, index: int) -> dspy.Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[dspy.Example]: ...
    def __getitem__(self, index: int | slice) -> dspy.Example | list[dspy.Example]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return self._make(*self._rows[self._order[index]])
