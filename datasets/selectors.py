"""Reads of datasets and corpora: one row for an actor, and the search of a corpus."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias
from uuid import UUID

from datasets.errors import (
    corpus_not_found,
    corpus_vectors_differ,
    corpus_without_vectors,
    dataset_not_found,
    embedding_model_disabled,
    import_not_found,
)
from datasets.models import Corpus, Dataset, Import, Passage
from datasets.policies import corpus_policy, dataset_policy, import_policy
from datasets.runtime.bm25 import Index
from datasets.runtime.vectors import MatrixCache, Ranking, Vectors, fused, matrix_of, nearest
from datasets.types import PassageSpec, Search
from mlops.querysets import Viewer
from mlops.selectors import language_model_spec
from mlops.types import LanguageModelSpec

INDEXES_PER_PROCESS = 16

MATRIX_BYTES = 256 * 2**20
"""Memory that a process gives to vectors: enough for the largest corpus at 3,000 dimensions."""

FUSED_DEPTH = 50
"""How many places of each ranking a hybrid search looks at."""

CorpusKey: TypeAlias = tuple[UUID, str]


def access_dataset(*, actor: Viewer, dataset_id: UUID | str, action: str = "view") -> Dataset:
    """The dataset, if `actor` may do `action` to it. Raises `NotFound` (`dataset_not_found`) or `Forbidden`."""
    dataset: Dataset | None = Dataset.objects.known_to(actor).filter(pk=dataset_id).first()
    if dataset is None:
        raise dataset_not_found()
    dataset_policy.check(actor, action, dataset)
    return dataset


def access_import(*, actor: Viewer, import_id: UUID | str, action: str = "view") -> Import:
    """The import, if `actor` may do `action` to it. Raises `NotFound` (`import_not_found`) or `Forbidden`."""
    job: Import | None = Import.objects.known_to(actor).filter(pk=import_id).first()
    if job is None:
        raise import_not_found()
    import_policy.check(actor, action, job)
    return job


def access_corpus(*, actor: Viewer, corpus_id: UUID | str, action: str = "view") -> Corpus:
    """The corpus, if `actor` may do `action` to it. Raises `NotFound` (`corpus_not_found`) or `Forbidden`."""
    corpus: Corpus | None = Corpus.objects.known_to(actor).filter(pk=corpus_id).first()
    if corpus is None:
        raise corpus_not_found()
    corpus_policy.check(actor, action, corpus)
    return corpus


def search_corpus(
    corpus_id: UUID | str, query: str, k: int, search: str = Search.BM25, vector: Vectors | None = None
) -> list[str]:
    """The at most `k` passages that answer `query` best, as `title: text`.

    `vector` is the query's, of the corpus's embedding model; every search but bm25 needs it. It asks no policy:
    whoever may execute a program may have its corpus searched. Safe to call from any thread. Raises `NotFound`
    (`corpus_not_found`) and `Invalid` (`corpus_without_vectors`, `corpus_vectors_differ`).
    """
    key = _searchable(corpus_id)
    texts = _indexed(*key)[0]
    return [texts[position] for position, _score in ranking_of(key, query, k, search, vector)]


def ranking_of(key: CorpusKey, query: str, k: int, search: str, vector: Vectors | None) -> Ranking:
    """Positions and scores of what `search_corpus` finds. Scores of different searches cannot be compared."""
    if search == Search.BM25:
        return _indexed(*key)[1].search(query, k)
    if vector is None:
        raise corpus_without_vectors()
    try:
        if search == Search.VECTOR:
            return nearest(_matrix(*key), vector, k)
        deep = max(k, FUSED_DEPTH)
        return fused([_indexed(*key)[1].search(query, deep), nearest(_matrix(*key), vector, deep)], k)
    except ValueError as error:
        raise corpus_vectors_differ(str(error)) from None


def embedding_spec_of(corpus_id: UUID | str) -> LanguageModelSpec:
    """The model that made the vectors of a corpus and makes those of its queries.

    Raises `NotFound` (`corpus_not_found`), `Invalid` (`corpus_without_vectors`) and `Unavailable`
    (`embedding_model_disabled`).
    """
    corpus: Corpus | None = Corpus.objects.ready().select_related("embedding_model").filter(pk=corpus_id).first()
    if corpus is None:
        raise corpus_not_found()
    if corpus.embedding_model is None:
        raise corpus_without_vectors()
    if not corpus.embedding_model.is_enabled:
        raise embedding_model_disabled()
    return language_model_spec(corpus.embedding_model)


def corpus_key(corpus: Corpus) -> CorpusKey:
    """What names a corpus and its content in the caches of this process."""
    return corpus.pk, corpus.content_hash


def _searchable(corpus_id: UUID | str) -> CorpusKey:
    key: CorpusKey | None = Corpus.objects.ready().filter(pk=corpus_id).values_list("pk", "content_hash").first()
    if key is None:
        raise corpus_not_found()
    return key


@lru_cache(maxsize=INDEXES_PER_PROCESS)
def _indexed(corpus_id: UUID, content_hash: str) -> tuple[tuple[str, ...], Index]:
    """The texts of a corpus and their index; `content_hash` makes the entry of changed content another one."""
    rows = Passage.objects.filter(corpus_id=corpus_id).order_by("position").values_list("title", "text")
    texts = tuple(PassageSpec(title, text).as_text for title, text in rows)
    return texts, Index.build(texts)


def _matrix(corpus_id: UUID, content_hash: str) -> Vectors:
    """The vectors of a corpus, one row per passage. Raises ValueError when they do not fit together."""

    def load() -> Vectors:
        dimensions = Corpus.objects.values_list("dimensions", flat=True).get(pk=corpus_id)
        rows = Passage.objects.filter(corpus_id=corpus_id).order_by("position").values_list("embedding", flat=True)
        return matrix_of((row or b"" for row in rows.iterator(chunk_size=1000)), dimensions)

    return _matrices.get_or_load((corpus_id, content_hash), load)


_matrices: MatrixCache[CorpusKey] = MatrixCache(MATRIX_BYTES)
