"""Files that become datasets: read twice, once to learn what the fields are and once to store the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

from datasets import errors
from datasets.models import Dataset, Example, Import
from datasets.runtime.reading import ReadOptions, Record, RowProblem, examples_in, inference_for, records_in
from datasets.services.reports import Report, progress_of
from datasets.services.uploads import opened, read_options
from datasets.services.versions import BATCH
from datasets.types import MAX_EXAMPLES, ContentHash, Duplicates, digest_of
from mlops.services.history import save_with_history
from mlops.services.jobs import Held, Stopped, StopReason

BATCH_CHARACTERS = 8_000_000
"""A batch ends here too, however few rows it has, so that long rows do not fill the memory."""


def import_examples(held: Held[Import]) -> None:
    """Fill the dataset of an import and show it, all of it at once.

    Raises `DomainError` with what was wrong, after the report was stored, and `Stopped`. What it has inserted by then
    is invisible, and the caller's to remove.
    """
    options = read_options(held.job.format, held.job.options)
    with opened(held.job) as file:
        types, schema = _look_through(held, file, options)
    report = Report()
    with opened(held.job) as file:
        content = _store(held, report, _good(held, report, file, options, types))
    if report.bad_rows or not report.rows:
        held.report(held.job.progress, force=True, lasting=False, report=report.as_json())
        raise errors.import_invalid(report.bad_rows) if report.bad_rows else errors.file_empty()
    chosen = held.job.options.get("schema") or schema
    held.end(lambda row: row.complete(), also=lambda row: _publish(row, report, chosen, content))


def _look_through(held: Held[Import], file: IO[bytes], options: ReadOptions) -> tuple[dict[str, str], dict[str, Any]]:
    """Field -> type of its texts, and the schema that all records fulfil. Raises `Invalid` (`too_many`)."""
    inference = inference_for(options)
    for rows, item in enumerate(records_in(file, options), 1):
        if rows > MAX_EXAMPLES:
            raise errors.too_many("file", MAX_EXAMPLES)
        if isinstance(item, Record):
            inference.add(item.data)
        if rows % BATCH == 0:
            held.report(progress_of(held.job, step=1, rows=rows, at=file.tell()), lasting=False)
    return inference.types(), inference.schema()


def _good(
    held: Held[Import], report: Report, file: IO[bytes], options: ReadOptions, types: dict[str, str]
) -> Iterator[Record]:
    """The good records of the file; the report hears of the others."""
    for number, item in enumerate(examples_in(file, options, types), 1):
        if isinstance(item, RowProblem):
            report.add_problem(item)
        else:
            report.rows += 1
            yield item
        if number % BATCH == 0:
            held.report(progress_of(held.job, step=2, rows=report.rows, at=file.tell()), lasting=False)


def _store(held: Held[Import], report: Report, records: Iterable[Record]) -> ContentHash:
    """Insert the records in batches, none after the first bad row; the hash of their content."""
    drops = held.job.options.get("duplicates") == Duplicates.DROP
    seen: dict[bytes, int] = {}
    content = ContentHash()
    batch: list[Example] = []
    characters = 0
    for record in records:
        digest = digest_of(record.data)
        first = seen.setdefault(bytes.fromhex(digest), record.line)
        if first != record.line:
            report.add_duplicate(record.line, first)
        if report.bad_rows or (drops and first != record.line):
            continue
        batch.append(_example(held.job, content.count, record, digest))
        content.add(digest)
        characters += len(str(record.data))
        if len(batch) == BATCH or characters > BATCH_CHARACTERS:
            _insert(held, batch)
            batch, characters = [], 0
    if batch and not report.bad_rows:
        _insert(held, batch)
    return content


def _example(job: Import, position: int, record: Record, digest: str) -> Example:
    return Example(
        dataset=job.dataset,
        position=position,
        data=record.data,
        content_hash=digest,
        source_kind="import",
        source_id=job.pk,
    )


def _insert(held: Held[Import], batch: list[Example]) -> None:
    """Under the lease, so that whoever takes the import over finds all that was inserted before."""
    with held.guard():
        Example.objects.bulk_create(batch)


def _publish(row: Import, report: Report, schema: dict[str, Any], content: ContentHash) -> None:
    if row.cancel_requested_at is not None:
        raise Stopped(StopReason.CANCELLED)
    dataset = Dataset.objects.select_for_update().get(pk=row.dataset_id)
    dataset.schema = schema
    dataset.size = content.count
    dataset.content_hash = content.hexdigest()
    dataset.finish_import()
    save_with_history(dataset, actor=row.user, reason="import_dataset")
    row.report = report.as_json()
