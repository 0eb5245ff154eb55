"""Files that become corpora: read once to see whether they are sound, and once more to embed and store the passages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePath
from typing import IO, Any

from datasets import errors
from datasets.models import Corpus, Import, Passage
from datasets.runtime.chunking import Unit
from datasets.runtime.documents import Chunking, documents_in, passages_of
from datasets.runtime.reading import RowProblem
from datasets.runtime.vectors import STORED, to_bytes
from datasets.services.embedding import EmbeddingAccount, embedded, reserve_embedding
from datasets.services.reports import Report, progress_of
from datasets.services.uploads import opened, read_options
from datasets.services.versions import BATCH
from datasets.types import MAX_PASSAGES, ContentHash, PassageSpec, digest_of
from mlops.errors import DomainError
from mlops.runtime.embeddings import MAX_TEXTS, Vectors
from mlops.services.history import save_with_history
from mlops.services.jobs import Held, Stopped, StopReason


def import_passages(held: Held[Import]) -> None:
    """Fill the corpus of an import and show it, all of it at once.

    Nothing is embedded, and so nothing paid, before the whole file was found to be sound. Raises `DomainError` with
    what was wrong, after the report was stored, and `Stopped`.
    """
    report = Report()
    count, characters = _look_through(held, report)
    if report.bad_rows or not count:
        held.report(held.job.progress, force=True, lasting=False, report=report.as_json())
        raise errors.import_invalid(report.bad_rows) if report.bad_rows else errors.file_empty()
    filling = _Filling(held, report, count, characters)
    filling.fill()
    held.end(lambda row: row.complete(), also=filling.publish)


def chunking_of(options: dict[str, Any]) -> Chunking | None:
    """How an import cuts its documents; None where it does not."""
    if not options.get("chunk_size"):
        return None
    return Chunking(options["chunk_size"], options.get("overlap", 0), Unit(options.get("unit", Unit.WORDS)))


def _look_through(held: Held[Import], report: Report) -> tuple[int, int]:
    """How many passages the file makes, and of how many characters. Raises `Invalid` (`too_many`)."""
    count = characters = 0
    with opened(held.job) as file:
        for passage in _passages(held.job, file, report):
            count += 1
            characters += len(passage.as_text)
            if count > MAX_PASSAGES:
                raise errors.too_many("file", MAX_PASSAGES)
            if count % BATCH == 0:
                held.report(progress_of(held.job, step=1, rows=count, at=file.tell()), lasting=False)
    return count, characters


def _passages(job: Import, file: IO[bytes], report: Report) -> Iterator[PassageSpec]:
    """The passages of the good documents; the report hears of the others."""
    options = read_options(job.format, job.options)
    chunking = chunking_of(job.options)
    for item in documents_in(file, options, PurePath(job.file_name).stem):
        if isinstance(item, RowProblem):
            report.add_problem(item)
        else:
            report.rows += 1
            yield from passages_of(item, chunking)


class _Filling:
    """The second reading of a file: passages are embedded and stored, batch by batch.

    Batches that an attempt whose worker was lost has stored stay, so that their vectors are not paid for again.
    """

    def __init__(self, held: Held[Import], report: Report, count: int, characters: int) -> None:
        self._held = held
        self._report = report
        self._count = count
        self._characters = characters
        self._corpus = Corpus.objects.select_related("embedding_model").get(pk=held.job.corpus_id)
        self._account = EmbeddingAccount.of(held.job.report)
        self._content = ContentHash()
        self._dimensions = 0

    def fill(self) -> None:
        model = self._corpus.embedding_model
        if model is not None:
            reserve_embedding(self._held.job, model, self._characters)
        size = BATCH if model is None else MAX_TEXTS
        with opened(self._held.job) as file:
            passages = _passages(self._held.job, file, Report())
            while batch := list(islice(passages, size)):
                self._held.check()
                is_new = self._keep(batch)
                at = self._held.job.file_size * self._content.count // self._count
                told = progress_of(self._held.job, step=2, rows=self._content.count, at=at)
                self._held.report(told, lasting=is_new)

    def publish(self, job: Import) -> None:
        """Show the corpus, in the transaction that completes the import."""
        if job.cancel_requested_at is not None:
            raise Stopped(StopReason.CANCELLED)
        corpus = Corpus.objects.select_for_update(of=("self",)).get(pk=job.corpus_id)
        corpus.size = self._content.count
        corpus.content_hash = self._content.hexdigest()
        corpus.dimensions = self._dimensions
        corpus.finish_import()
        save_with_history(corpus, actor=job.user, reason="import_corpus")
        job.report = self._as_json()

    def _keep(self, batch: Sequence[PassageSpec]) -> bool:
        """Have a batch stored, as the next passages; whether it was not stored yet."""
        first = self._content.count
        is_new = not self._is_stored(first, batch)
        vectors = self._embedded(batch) if is_new and self._corpus.embedding_model is not None else None
        for passage in batch:
            self._content.add(digest_of([passage.title, passage.text]))
        if is_new:
            self._insert(first, batch, vectors)
        return is_new

    def _is_stored(self, first: int, batch: Sequence[PassageSpec]) -> bool:
        """Whether exactly this batch stands at these positions. Batches are stored whole, each with its vectors."""
        rows = Passage.objects.filter(corpus=self._corpus, position__range=(first, first + len(batch) - 1))
        stored = rows.order_by("position").values_list("title", "text")
        if list(stored) != [(passage.title, passage.text) for passage in batch]:
            return False
        vector = rows.values_list("embedding", flat=True).first()
        self._dimensions = len(vector or b"") // STORED.itemsize
        return True

    def _embedded(self, batch: Sequence[PassageSpec]) -> Vectors:
        """The vectors of a batch; what they cost is known even if they are of no use."""
        try:
            texts = [passage.as_text for passage in batch]
            vectors = embedded(self._held.job, self._corpus.embedding_model, texts, self._account)
        except DomainError:
            with self._held.guard() as job:
                self._keep_report(job)
            raise
        if self._dimensions not in (0, vectors.shape[1]):
            raise errors.embedding_failed("vectors of different lengths")
        self._dimensions = vectors.shape[1]
        return vectors

    def _insert(self, first: int, batch: Sequence[PassageSpec], vectors: Vectors | None) -> None:
        """Under the lease, so that whoever takes the import over finds all that was inserted before."""
        rows = [
            Passage(
                corpus=self._corpus,
                position=first + number,
                title=passage.title,
                text=passage.text,
                embedding=None if vectors is None else to_bytes(vectors[number]),
            )
            for number, passage in enumerate(batch)
        ]
        with self._held.guard() as job:
            # what another edition of this program may have cut differently
            Passage.objects.filter(corpus=self._corpus, position__gte=first).delete()
            Passage.objects.bulk_create(rows)
            self._keep_report(job)

    def _keep_report(self, job: Import) -> None:
        job.report = self._as_json()
        job.save(update_fields=["report"])

    def _as_json(self) -> dict[str, Any]:
        return {**self._report.as_json(), "passages": self._content.count, **self._account.as_json()}
