"""Datasets as files, read from the database in batches while they are sent."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import IO, Any

from django.utils.translation import gettext as _

from datasets import errors
from datasets.models import Dataset
from datasets.runtime.reading import is_parquet_installed
from datasets.runtime.writing import DelimitedWriter, Fields, JsonLinesWriter, JsonWriter, ParquetFile, Writer
from datasets.types import FileFormat
from mlops.errors import Invalid
from mlops.services.database import off_the_loop

BATCH = 1_000
PIECE = 262_144
"""Bytes of a finished file that are sent at once."""

CONTENT_TYPES = {
    FileFormat.CSV: "text/csv; charset=utf-8",
    FileFormat.TSV: "text/tab-separated-values; charset=utf-8",
    FileFormat.JSON: "application/json",
    FileFormat.JSONL: "application/jsonl",
    FileFormat.PARQUET: "application/vnd.apache.parquet",
}


def offered_formats() -> list[FileFormat]:
    """The kinds of file that this installation reads and writes."""
    return [format for format in CONTENT_TYPES if format is not FileFormat.PARQUET or is_parquet_installed()]


def export_format(name: str) -> FileFormat:
    """Raise `Invalid` (`format_unknown`, `parquet_not_installed`)."""
    found = next((format for format in CONTENT_TYPES if format == name), None)
    if found is None:
        message = _("Name one of %(known)s.") % {"known": ", ".join(CONTENT_TYPES)}
        raise Invalid("format_unknown", message, field="as")
    if found is FileFormat.PARQUET and not is_parquet_installed():
        raise errors.parquet_not_installed()
    return found


def export_name(dataset: Dataset, format: FileFormat) -> str:
    """The name of the file: of plain letters, as those of datasets are."""
    return f"{dataset.name}-{dataset.type}-{dataset.version}.{format.value}"


async def export_pieces(dataset: Dataset, format: FileFormat) -> AsyncGenerator[bytes, None]:
    """The file, piece by piece; no more than a batch of examples is in memory."""
    if format is FileFormat.PARQUET:
        async for piece in _parquet(dataset):
            yield piece
        return
    writer = await off_the_loop(lambda: _writer(dataset, format))
    yield writer.begin()
    after = -1
    while batch := await off_the_loop(lambda after=after: _batch(dataset, after)):  # type: ignore[misc]
        yield writer.rows(data for _position, data in batch)
        after = batch[-1][0]
    yield writer.end()


def _writer(dataset: Dataset, format: FileFormat) -> Writer:
    if format is FileFormat.JSON:
        return JsonWriter()
    if format is FileFormat.JSONL:
        return JsonLinesWriter()
    return DelimitedWriter(_fields(dataset).names(), "\t" if format is FileFormat.TSV else ",")


def _fields(dataset: Dataset) -> Fields:
    """The fields of all examples: a schema need not name them all."""
    required = dataset.schema.get("required", [])
    fields = Fields(required if isinstance(required, list) else ())
    for batch in _batches(dataset):
        for _position, data in batch:
            fields.add(data)
    return fields


def _batches(dataset: Dataset) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    after = -1
    while batch := _batch(dataset, after):
        yield batch
        after = batch[-1][0]


def _batch(dataset: Dataset, after: int) -> list[tuple[int, dict[str, Any]]]:
    """The next examples by position: a server-side cursor would need one connection for all of the answer."""
    rows = dataset.examples.filter(position__gt=after).order_by("position")
    return list(rows.values_list("position", "data")[:BATCH])


async def _parquet(dataset: Dataset) -> AsyncIterator[bytes]:
    """Its directory stands at the end, so the file is made before it is sent."""
    file = await off_the_loop(lambda: _parquet_file(dataset))
    try:
        while piece := await off_the_loop(lambda: file.read(PIECE)):
            yield piece
    finally:
        file.close()


def _parquet_file(dataset: Dataset) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    table = ParquetFile(file, _fields(dataset).kinds())
    for batch in _batches(dataset):
        table.write([data for _position, data in batch])
    table.close()
    file.seek(0)
    return file
