"""The verbs of corpora."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from django.core.files.base import File
from django.db import transaction
from django.utils.translation import gettext as _

from datasets import errors
from datasets.models import Corpus, Import, Passage
from datasets.models.datasets import IMPORTING
from datasets.policies import corpus_policy
from datasets.runtime.chunking import Unit
from datasets.runtime.documents import MAX_TITLE
from datasets.selectors import corpus_key, ranking_of
from datasets.services.embedding import embedded_query
from datasets.services.uploads import RECORD_FORMATS, accept_file, check_options, format_of
from datasets.services.versions import BATCH, check_name, check_size, delete_unused, frozen, save_as_next_version
from datasets.types import (
    MAX_PASSAGES,
    FileFormat,
    FoundPassage,
    ImportKind,
    PassageSpec,
    Search,
    VersionState,
    digest_of,
    digest_of_all,
)
from mlops.errors import Problem
from mlops.models import LanguageModel, User
from mlops.sanitiser import problem_in, refuse_unstorable
from mlops.types import LanguageModelKind
from mlops.verbs import verb

MAX_FOUND = 100
MAX_CHUNK = 100_000
TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown")
FILE_OPTIONS = ("encoding", "delimiter", "mapping")


@verb(corpus_policy, "create")
def create_corpus(*, actor: User, name: str, passages: Sequence[PassageSpec], description: str = "") -> Corpus:
    """The next version of the corpus `name`, with its passages, in one transaction.

    Raises `Forbidden`, `Invalid` (`name_invalid`, `empty`, `too_many`, `corpus_invalid` with one problem per broken
    passage) and `Conflict` (`version_taken`).
    """
    corpus_policy.check(actor, "create")
    check_name(name)
    _check_passages(passages)
    refuse_unstorable(description, "description")
    corpus = Corpus(
        name=name,
        description=description,
        size=len(passages),
        content_hash=digest_of_all(digest_of([passage.title, passage.text]) for passage in passages),
    )
    rows = (
        Passage(corpus=corpus, position=position, title=passage.title, text=passage.text)
        for position, passage in enumerate(passages)
    )
    with transaction.atomic():
        save_as_next_version(corpus, actor, "create_corpus", name=name)
        Passage.objects.bulk_create(rows, batch_size=BATCH)
    return corpus


@verb(corpus_policy, "create")
def import_corpus(
    *,
    actor: User,
    name: str,
    file: File[Any],
    format: str = "",
    description: str = "",
    embedding_model: LanguageModel | None = None,
    options: Mapping[str, Any] | None = None,
    idempotency_key: str = "",
) -> Import:
    """Accept a file as the next version of the corpus `name`; a worker imports it.

    Files are texts (one document, or several with form feeds between them) or records with `title` and `text`.
    `options`: `chunk_size`, `overlap` and `unit` (words, characters) cut documents into passages; `encoding`,
    `delimiter` and `mapping` (column -> field) are those of datasets. With an `embedding_model` each passage gets a
    vector, and `actor` pays for it. Raises `Forbidden`, `Invalid` (`name_invalid`, `format_unknown`,
    `parquet_not_installed`, `options_invalid`, `not_an_embedding_model`, `empty`), `TooLarge` (`file_too_large`),
    `Unavailable` (`embedding_model_disabled`) and `Conflict` (`version_taken`, `idempotency_key_reused`).
    """
    corpus_policy.check(actor, "create")
    check_name(name)
    refuse_unstorable(description, "description")
    chosen = _format_of(format, file.name)
    _check_options(chosen, options or {})
    _check_embedding_model(embedding_model)

    def create_version(job: Import) -> None:
        corpus = Corpus(name=name, description=description, embedding_model=embedding_model, state=IMPORTING)
        save_as_next_version(corpus, actor, "import_corpus", name=name)
        job.corpus = corpus

    return accept_file(
        actor=actor,
        kind=ImportKind.CORPUS,
        name=name,
        file=file,
        format=chosen,
        options=options or {},
        create_version=create_version,
        idempotency_key=idempotency_key,
        content={"description": description, "embedding_model": embedding_model and str(embedding_model.pk)},
    )


@verb(corpus_policy, "view")
def search_passages(
    *, actor: User, corpus: Corpus, query: str, k: int = 5, search: str = Search.BM25
) -> list[FoundPassage]:
    """The at most `k` passages that answer `query` best; what embedding the query costs is charged to `actor`.

    Raises `Forbidden`, `Conflict` (`corpus_importing`), `Invalid` (`invalid_choice`, `out_of_range`,
    `corpus_without_vectors`, `corpus_vectors_differ`), `Unavailable` (`embedding_failed`, `embedding_model_disabled`)
    and `InsufficientCredits` (`price_unknown`, `budget_exhausted`, `insufficient_credits`).
    """
    corpus_policy.check(actor, "view", corpus)
    refuse_unstorable(query, "q")
    if corpus.state != VersionState.READY:
        raise errors.corpus_importing()
    if search not in list(Search):
        raise errors.search_unknown()
    if not 1 <= k <= MAX_FOUND:
        raise errors.out_of_range("k", 1, MAX_FOUND)
    vector = None if search == Search.BM25 else embedded_query(actor=actor, corpus=corpus, query=query)
    ranking = dict(ranking_of(corpus_key(corpus), query, k, search, vector))
    passages = {row.position: row for row in Passage.objects.filter(corpus=corpus, position__in=ranking)}
    return [
        FoundPassage(passages[position].pk, position, passages[position].title, passages[position].text, score)
        for position, score in ranking.items()
    ]


@verb(corpus_policy, "freeze")
def freeze_corpus(*, actor: User, corpus: Corpus) -> Corpus:
    """Something uses the corpus from now on, so it stays. Repeating is harmless. Raises `Forbidden`."""
    corpus_policy.check(actor, "freeze", corpus)
    return frozen(corpus, actor, "freeze_corpus")


@verb(corpus_policy, "delete")
def delete_corpus(*, actor: User, corpus: Corpus) -> None:
    """Remove an unused corpus. Raises `Forbidden` and `Conflict` (`corpus_in_use`)."""
    corpus_policy.check(actor, "delete", corpus)
    delete_unused(corpus, actor, "delete_corpus", errors.corpus_in_use())


def _format_of(given: str, file_name: str | None) -> FileFormat:
    if not given and PurePath(file_name or "").suffix.lower() in TEXT_SUFFIXES:
        return FileFormat.TEXT
    return format_of(given, file_name, (*RECORD_FORMATS, FileFormat.TEXT))


def _check_options(format: FileFormat, options: Mapping[str, Any]) -> None:
    """Raise `Invalid` (`options_invalid`)."""
    refuse_unstorable(dict(options), "options")
    own = {name: options[name] for name in ("chunk_size", "overlap", "unit") if name in options}
    further = {name: value for name, value in options.items() if name not in own}
    problems = [Problem(item.code, item.message, f"options.{item.field}") for item in _problems_of_chunking(own)]
    problems += [
        Problem("unknown_field", _("There is no such option."), f"options.{name}")
        for name in further
        if name not in FILE_OPTIONS
    ]
    if problems:
        raise errors.options_invalid(problems)
    check_options(format, further)


def _problems_of_chunking(options: Mapping[str, Any]) -> Iterator[Problem]:
    size, overlap = options.get("chunk_size", 0), options.get("overlap", 0)
    if not _is_whole(size) or not 0 <= size <= MAX_CHUNK:
        yield Problem("out_of_range", _("A whole number from 0 (whole documents) to 100,000."), "chunk_size")
    elif not _is_whole(overlap) or not 0 <= overlap < max(size, 1):
        yield Problem("out_of_range", _("A whole number from 0 to less than the size of a chunk."), "overlap")
    if options.get("unit", Unit.WORDS) not in list(Unit):
        yield Problem("invalid_choice", _("Expected words or characters."), "unit")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_embedding_model(model: LanguageModel | None) -> None:
    if model is None:
        return
    if model.kind != LanguageModelKind.EMBEDDING:
        raise errors.not_an_embedding_model()
    if not model.is_enabled:
        raise errors.embedding_model_disabled()


def _check_passages(passages: Sequence[PassageSpec]) -> None:
    check_size(len(passages), MAX_PASSAGES, "passages")
    found = (_problem_in_passage(passage, f"passages.{position}") for position, passage in enumerate(passages))
    if problems := [problem for problem in found if problem]:
        raise errors.invalid_passages(problems)


def _problem_in_passage(passage: PassageSpec, path: str) -> Problem | None:
    if not passage.text.strip():
        return Problem("blank", _("A passage has a text."), f"{path}.text")
    if len(passage.title) > MAX_TITLE:
        message = _("A title has at most %(limit)s characters.") % {"limit": MAX_TITLE}
        return Problem("too_long", message, f"{path}.title")
    return problem_in(passage.title, f"{path}.title") or problem_in(passage.text, f"{path}.text")
