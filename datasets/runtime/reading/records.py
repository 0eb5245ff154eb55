"""What readers of files yield: records, and reasons why a record cannot be accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

MAX_RECORD = 1_000_000
"""Characters of one record, so that a file of any size is read in bounded memory."""

MAX_FIELD = 500_000
"""Characters of one text."""

MAX_FIELDS = 1_000
"""Fields of a file, whichever records have them."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `line` is the line of the file in which it begins; in JSON and Parquet, where lines say nothing, its
    number, counted from 1."""

    line: int
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why a record, or with `line` 0 the file, cannot be accepted. `field` is a dotted path into the record."""

    line: int
    field: str
    code: str
    message: str


Items: TypeAlias = Iterator["Record | RowProblem"]


class UnreadableFile(Exception):
    """What is read cannot be told apart from here on; `problem` says where and why."""

    def __init__(self, line: int, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.problem = RowProblem(line, field, code, message)
