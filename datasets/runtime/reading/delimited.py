"""CSV and TSV, record by record: the first line names the fields, every cell is text."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import IO

from datasets.runtime.reading.records import MAX_FIELDS, MAX_RECORD, Items, Record, RowProblem, UnreadableFile
from datasets.runtime.reading.text import Line, lines_of
from mlops.sanitiser import problem_in

# The csv module knows one limit for the whole process, and its default is smaller than a record may be.
csv.field_size_limit(MAX_RECORD)


class _Feed:
    """Lines as the csv module takes them, and where the present record began."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.number = 0
        self.begin()

    def begin(self) -> None:
        self.first = self.number + 1
        self._size = 0
        self.is_too_long = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number = line.number
        self._size += len(line.text)
        self.is_too_long = self.is_too_long or line.is_too_long
        if self._size > MAX_RECORD:
            message = f"A record of more than {MAX_RECORD} characters: is a quotation mark not closed?"
            raise UnreadableFile(self.first, "record_too_long", message)
        return line.text


def read_delimited(file: IO[bytes], *, delimiter: str, encoding: str = "") -> Items:
    """The records of a file with a header. Raises `UnreadableFile` where nothing more can be told."""
    feed = _Feed(lines_of(file, encoding))
    header: list[str] | None = None
    for line, cells in _rows(feed, delimiter):
        if header is None:
            header = _header(line, cells, feed.is_too_long)
        elif feed.is_too_long:
            yield RowProblem(line, "", "record_too_long", f"More than {MAX_RECORD} characters.")
        elif len(cells) == len(header):
            yield Record(line, dict(zip(header, cells, strict=True)))
        else:
            code = "too_many_cells" if len(cells) > len(header) else "too_few_cells"
            yield RowProblem(line, "", code, f"{len(cells)} cells under {len(header)} headers.")


def _rows(feed: _Feed, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each record with the line where it begins, without empty lines."""
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnreadableFile(feed.first, "csv_broken", f"Not CSV: {error}.") from None
        if cells or feed.is_too_long:
            yield feed.first, cells


def _header(line: int, cells: list[str], is_too_long: bool) -> list[str]:
    if is_too_long or len(cells) > MAX_FIELDS:
        raise UnreadableFile(line, "too_many_fields", f"More than {MAX_FIELDS} fields.")
    names = [cell.strip() for cell in cells]
    for position, name in enumerate(names):
        if problem := problem_in(name):
            raise UnreadableFile(line, problem.code, f"The name of column {position + 1}: {problem.message}")
        if not name:
            raise UnreadableFile(line, "empty_header", f"Column {position + 1} has no name.")
        if name in names[:position]:
            raise UnreadableFile(line, "duplicate_header", "Two columns have this name.", name)
    return names
