"""How a file is to be read, checked before reading begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets.runtime.reading.cells import TYPES
from datasets.runtime.reading.schema import problem_in_schema
from datasets.runtime.reading.text import ENCODINGS
from datasets.types import FileFormat
from mlops.errors import Problem

TEXT_FORMATS = (FileFormat.CSV, FileFormat.TSV)
"""Formats all of whose values are text."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """`mapping` leads from a column of the file to the field that it becomes; with one, other columns are left out.
    `types` and `schema` say what values are; what neither says is inferred."""

    format: FileFormat
    encoding: str = ""
    delimiter: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None

    @property
    def is_text(self) -> bool:
        return self.format in TEXT_FORMATS

    @property
    def separator(self) -> str:
        """What stands between two cells."""
        return self.delimiter or ("\t" if self.format is FileFormat.TSV else ",")


def problems_in_options(options: ReadOptions) -> Iterator[Problem]:
    """Everything that is wrong with `options`, each with the option's name."""
    if options.encoding and options.encoding not in ENCODINGS:
        yield Problem("encoding_unknown", f"One of {', '.join(ENCODINGS)}.", "encoding")
    if options.encoding and options.format is FileFormat.PARQUET:
        yield Problem("encoding_unknown", "Parquet has no encoding.", "encoding")
    if options.delimiter and (options.format is not FileFormat.CSV or not _is_delimiter(options.delimiter)):
        yield Problem("delimiter_invalid", "One character, in CSV only; no quotation mark, no line end.", "delimiter")
    yield from _problems_in_names(options.mapping, "mapping")
    fields = [field for field in options.mapping.values() if isinstance(field, str)]
    if len(set(fields)) < len(fields):
        yield Problem("mapping_ambiguous", "Two columns become the same field.", "mapping")
    yield from _problems_in_names(options.types, "types")
    for name, kind in options.types.items():
        if kind not in TYPES:
            yield Problem("type_unknown", f"One of {', '.join(TYPES)}.", f"types.{name}")
    if options.schema is not None and (reason := problem_in_schema(options.schema)):
        yield Problem("schema_invalid", reason, "schema")


def _is_delimiter(text: str) -> bool:
    return len(text) == 1 and text not in '"\r\n\0'


def _problems_in_names(names: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for name, value in names.items():
        if not (name and isinstance(value, str) and value):
            yield Problem("not_a_string", "A name that is not empty.", f"{path}.{name}")
