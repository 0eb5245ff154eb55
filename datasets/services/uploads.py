"""Uploaded files: kept in the shared storage from the request to the end of their import."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import PurePath
from typing import IO, Any, cast

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from datasets import errors
from datasets.models import Import
from datasets.runtime.reading import ReadOptions, is_parquet_installed, problems_in_options
from datasets.types import Duplicates, FileFormat, ImportKind
from mlops.errors import Conflict, Problem
from mlops.models import User
from mlops.sanitiser import refuse_unstorable
from mlops.services.idempotency import once
from mlops.services.jobs import ring

IMPORT_TASK, IMPORT_QUEUE = "datasets.work_imports", "ml_inference"

FOLDER = "imports"
"""Where the storage keeps uploaded files, each under the id of its import."""

ORPHANED_AFTER = timedelta(days=1)
"""How old a file without an import has to be before it counts as left over: a younger one may be about to get one."""

RECORD_FORMATS = (FileFormat.CSV, FileFormat.TSV, FileFormat.JSON, FileFormat.JSONL, FileFormat.PARQUET)
"""Files of records."""

_SHAPES: Mapping[str, type] = {"encoding": str, "delimiter": str, "mapping": dict, "types": dict, "schema": dict}


def accept_file(
    *,
    actor: User,
    kind: ImportKind,
    name: str,
    file: File[Any],
    format: FileFormat,
    options: Mapping[str, Any],
    create_version: Callable[[Import], None],
    idempotency_key: str = "",
    content: Mapping[str, Any] | None = None,
) -> Import:
    """Keep `file` and store its import as pending, both or neither; a worker hears of it after the commit.

    `create_version(import)` runs in the same transaction: it creates the row that the file is to fill, in state
    `importing`, and names it in the import. `content` is what an `idempotency_key` stands for besides the file and the
    other arguments. Raises `TooLarge` (`file_too_large`), `Invalid` (`empty`) and `Conflict` (`version_taken`,
    `idempotency_key_reused`).
    """
    size = _checked_size(file)
    job = Import(
        user=actor, kind=kind.value, name=name, format=format.value, options=dict(options), file_size=size,
        file_name=_plain_name(file.name),
    )  # fmt: skip
    digest = _digest(file) if idempotency_key else ""
    asked = {**(content or {}), "kind": kind, "name": name, "format": format, "options": job.options, "file": digest}

    def create() -> Import:
        with transaction.atomic():
            create_version(job)
            job.save()
            ring(IMPORT_TASK, IMPORT_QUEUE)
        return job

    def accept() -> Import:
        return once(create, Import, actor=actor, key=idempotency_key, content=asked)[0]

    stored = job.file.name = default_storage.save(f"{FOLDER}/{job.pk}.{format.value}", file)
    accepted = None
    try:
        accepted = _twice(accept)
    finally:
        if accepted is not job:
            default_storage.delete(stored)
    return accepted


def _twice(accept: Callable[[], Import]) -> Import:
    """Somebody may be faster with the next version of a name: another import, or this very request sent again."""
    try:
        return accept()
    except Conflict as error:
        if error.code != errors.version_taken().code:
            raise
        return accept()


def _digest(file: File[Any]) -> str:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.hexdigest()


@contextmanager
def opened(job: Import) -> Iterator[IO[bytes]]:
    """The uploaded file. Raises `Invalid` (`file_lost`)."""
    try:
        file = default_storage.open(job.file.name or "", "rb")
    except OSError:
        raise errors.file_lost() from None
    with file:
        yield cast("IO[bytes]", file)


def discard_file(job: Import) -> None:
    """Remove the uploaded file; repeating is harmless."""
    if job.file.name:
        default_storage.delete(job.file.name)


def discard_orphans() -> int:
    """Remove files whose process ended between storing them and accepting their import; how many there were."""
    if not default_storage.exists(FOLDER):
        return 0
    known = set(Import.objects.exclude(file="").values_list("file", flat=True))
    files = (f"{FOLDER}/{name}" for name in default_storage.listdir(FOLDER)[1])
    orphans = [file for file in files if file not in known and _age(file) > ORPHANED_AFTER]
    for file in orphans:
        default_storage.delete(file)
    return len(orphans)


def _age(file: str) -> timedelta:
    try:
        return timezone.now() - default_storage.get_modified_time(file)
    except FileNotFoundError:  # its import has ended meanwhile
        return timedelta(0)


def format_of(given: str, file_name: str | None, known: tuple[FileFormat, ...]) -> FileFormat:
    """The format that was named, else that of the file's name. Raises `Invalid` (`format_unknown`,
    `parquet_not_installed`)."""
    name = given or PurePath(file_name or "").suffix.lower().removeprefix(".")
    found = next((format for format in known if format == name), None)
    if found is None:
        raise errors.format_unknown(known)
    if found is FileFormat.PARQUET and not is_parquet_installed():
        raise errors.parquet_not_installed()
    return found


def read_options(format: FileFormat | str, options: Mapping[str, Any]) -> ReadOptions:
    """The options by which a file of records is read."""
    return ReadOptions(format=FileFormat(format), **{name: options[name] for name in _SHAPES if name in options})


def check_options(format: FileFormat, options: Mapping[str, Any]) -> None:
    """Raise `Invalid` (`options_invalid`) with everything that is wrong with the options of an import."""
    refuse_unstorable(dict(options), "options")
    shapes = {**_SHAPES, "duplicates": str}
    problems = [_unknown(name) for name in options if name not in shapes]
    for name, shape in shapes.items():
        if name in options and not isinstance(options[name], shape):
            text = _("An object is expected.") if shape is dict else _("A text is expected.")
            problems.append(Problem("type_wrong", text, name))
    if not problems:
        problems = list(problems_in_options(read_options(format, options)))
        if options.get("duplicates", Duplicates.KEEP) not in list(Duplicates):
            problems.append(Problem("invalid_choice", _("Expected keep or drop."), "duplicates"))
    if problems:
        raise errors.options_invalid([Problem(p.code, p.message, f"options.{p.field}") for p in problems])


def _unknown(name: str) -> Problem:
    return Problem("unknown_field", _("There is no such option."), name)


def _checked_size(file: File[Any]) -> int:
    size = file.size
    if size > settings.SIGNET_MAX_UPLOAD_BYTES:
        raise errors.file_too_large(settings.SIGNET_MAX_UPLOAD_BYTES)
    if size == 0:
        raise errors.file_empty()
    return size


def _plain_name(name: str | None) -> str:
    """The file's own name, without folders, as it can be stored."""
    plain = PurePath((name or "").replace("\\", "/")).name
    refuse_unstorable(plain, "file")
    return plain[-255:] or "file"
