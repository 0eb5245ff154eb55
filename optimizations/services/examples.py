"""The examples of a dataset version as an optimizer takes them: read from the database when they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, overload
from uuid import UUID

from datasets.models import Dataset, Example
from optimizations.runtime.examples import ExampleData


class StoredExamples(Sequence[ExampleData]):
    """Ids and data in the order of the dataset. Kept are the ids at most, and those only once one is picked."""

    def __init__(self, dataset: Dataset) -> None:
        self._rows = Example.objects.filter(dataset=dataset).order_by("position")
        self._size = dataset.size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[ExampleData]:
        return (_told(key, data) for key, data in self._rows.values_list("pk", "data").iterator())

    @overload
    def __getitem__(self, index: int) -> ExampleData: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ExampleData]: ...
    def __getitem__(self, index: int | slice) -> ExampleData | Sequence[ExampleData]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        key = self._keys[index]
        return _told(key, self._rows.values_list("data", flat=True).get(pk=key))

    @cached_property
    def _keys(self) -> list[UUID]:
        return list(self._rows.values_list("pk", flat=True))


def _told(key: UUID, data: Mapping[str, Any]) -> ExampleData:
    return str(key), data
