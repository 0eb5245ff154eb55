"""Imports: a file is accepted, a worker fills a hidden version with it, and shows all of it at once or takes it back.

What a kind of import does is in `IMPORTERS`; accepting a file for it is `uploads.accept_file`. Everything else is the
same for every kind: one worker at a time, going on after a lost one, cancelling, and tidying up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.files.base import File
from django.db import models, transaction
from django.db.models import Q

from datasets.models import Corpus, Dataset, Example, Import, Passage
from datasets.models.datasets import IMPORTING
from datasets.policies import dataset_policy, import_policy
from datasets.services.corpus_files import import_passages
from datasets.services.dataset_files import import_examples
from datasets.services.datasets import check_type
from datasets.services.embedding import settle_embedding
from datasets.services.uploads import (
    IMPORT_QUEUE,
    IMPORT_TASK,
    RECORD_FORMATS,
    accept_file,
    check_options,
    discard_file,
    format_of,
)
from datasets.services.versions import BATCH, check_name, save_as_next_version
from datasets.types import DatasetType, ImportKind
from mlops.errors import DomainError
from mlops.models import User
from mlops.sanitiser import refuse_unstorable
from mlops.services.history import saved_or_none
from mlops.services.jobs import Held, Stopped, StopReason, request_cancel, ring, sweep, work_through
from mlops.types import TERMINAL_STATES, JobState
from mlops.verbs import verb

Importer = Callable[[Held[Import]], None]

IMPORTERS: dict[str, Importer] = {ImportKind.DATASET: import_examples, ImportKind.CORPUS: import_passages}
"""Kind -> what fills the version of an import and ends it with `held.end`, or raises `DomainError` or `Stopped`."""

STARTING_OVER = frozenset({ImportKind.DATASET})
"""Kinds that begin with an empty version after a lost attempt; the others keep what it stored."""


@verb(dataset_policy, "create")
def import_dataset(
    *,
    actor: User,
    name: str,
    type: DatasetType | str,
    file: File[Any],
    format: str = "",
    description: str = "",
    options: Mapping[str, Any] | None = None,
    idempotency_key: str = "",
) -> Import:
    """Accept a file as the next version of the dataset `name` of that type; a worker imports it.

    `options`: `encoding`, `delimiter`, `mapping` (column -> field), `types` (field -> type), `schema` (JSON Schema of
    an example), `duplicates` (keep or drop). Without `format` the name of the file says it. Raises `Forbidden`,
    `Invalid` (`name_invalid`, `dataset_type_unknown`, `format_unknown`, `parquet_not_installed`, `options_invalid`,
    `empty`), `TooLarge` (`file_too_large`) and `Conflict` (`version_taken`, `idempotency_key_reused`).
    """
    dataset_policy.check(actor, "create")
    check_name(name)
    check_type(type)
    refuse_unstorable(description, "description")
    chosen = format_of(format, file.name, RECORD_FORMATS)
    check_options(chosen, options or {})

    def create_version(job: Import) -> None:
        dataset = Dataset(name=name, type=DatasetType(type).value, description=description, state=IMPORTING)
        save_as_next_version(dataset, actor, "import_dataset", name=name, type=dataset.type)
        job.dataset = dataset

    return accept_file(
        actor=actor,
        kind=ImportKind.DATASET,
        name=name,
        file=file,
        format=chosen,
        options=options or {},
        create_version=create_version,
        idempotency_key=idempotency_key,
        content={"type": type, "description": description},
    )


@verb(import_policy, "cancel")
def cancel_import(*, actor: User, job: Import) -> Import:
    """Stop an import; nothing of it remains. A pending one ends at once, a running one when its worker hears of it.

    Raises `Forbidden` and `Conflict` (`import_not_cancellable`).
    """
    import_policy.check(actor, "cancel", job)
    row = request_cancel(job)
    return _tidy(row) if row.is_terminal else row


def work_imports() -> int:
    """Work on what is pending, one import after the other; how many ended here."""
    ended = work_through(Import.objects.all(), _work)
    tidy_imports()
    return ended


def sweep_imports() -> None:
    """Hand back what lost workers held, tidy up what they left, and ring for what is pending."""
    pending = sweep(Import)
    tidy_imports()
    if pending:
        ring(IMPORT_TASK, IMPORT_QUEUE)


def tidy_imports() -> None:
    """Remove what imports that have ended still hold: their files, and the versions of those that did not complete."""
    unfinished = Q(dataset__state=IMPORTING) | Q(corpus__state=IMPORTING)
    for job in Import.objects.filter(state__in=TERMINAL_STATES).filter(~Q(file="") | unfinished):
        _tidy(job)


def _work(held: Held[Import]) -> None:
    """Import one file. What fails or is cancelled is taken back before that is said."""
    try:
        if held.job.kind in STARTING_OVER:
            _empty_version(held)
        IMPORTERS[held.job.kind](held)
    except Stopped as stop:
        if stop.reason is not StopReason.CANCELLED:
            raise
        _take_back(held, lambda row: row.cancel())
    except DomainError as error:
        code, message = error.code, error.message
        _take_back(held, lambda row: row.fail(code, message))
    if held.has_ended:
        _tidy(held.job)


def _take_back(held: Held[Import], move: Callable[[Import], None]) -> None:
    _empty_version(held)
    held.end(move, also=_delete_version)


def _empty_version(held: Held[Import]) -> None:
    """Delete what was inserted, in batches that each hold the lease."""
    while True:
        with held.guard() as job:
            if not _delete_batch(job):
                return


def _tidy(job: Import) -> Import:
    """The import without what it held. After its end nobody has its lease, so that nobody inserts any more."""
    if job.state != JobState.COMPLETED:
        while _delete_batch(job):
            pass
    with transaction.atomic():
        row: Import = Import.objects.select_for_update(of=("self",)).get(pk=job.pk)
        if row.state != JobState.COMPLETED:
            _delete_version(row)
        settle_embedding(row)
        discard_file(row)
        row.file.name = ""
        row.save(update_fields=["dataset", "corpus", "file"])
    return row


def _delete_batch(job: Import) -> bool:
    """Delete some rows of the hidden version; whether there were any."""
    rows: models.QuerySet[Any] = (
        Example.objects.filter(dataset__imports=job, dataset__state=IMPORTING)
        if job.kind == ImportKind.DATASET
        else Passage.objects.filter(corpus__imports=job, corpus__state=IMPORTING)
    )
    batch = list(rows.values_list("pk", flat=True)[:BATCH])
    rows.model._base_manager.filter(pk__in=batch).delete()
    return bool(batch)


def _delete_version(job: Import) -> None:
    """Delete the hidden version itself, once it is empty."""
    version: Dataset | Corpus | None = job.dataset or job.corpus
    if version is None or version.state != IMPORTING:
        return
    vars(version).update(_history_user=saved_or_none(job.user), _change_reason="discard_import")
    version.delete()
    job.dataset = job.corpus = None
