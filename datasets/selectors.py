"""Reads of datasets and corpora: one row for an actor, and the search of a corpus."""

from __future__ import annotations

from functools import lru_cache
from uuid import UUID

from datasets.errors import corpus_not_found, dataset_not_found
from datasets.models import Corpus, Dataset, Passage
from datasets.policies import corpus_policy, dataset_policy
from datasets.runtime.bm25 import Index
from mlops.querysets import Viewer

INDEXES_PER_PROCESS = 16


def access_dataset(*, actor: Viewer, dataset_id: UUID | str, action: str = "view") -> Dataset:
    """The dataset, if `actor` may do `action` to it. Raises `NotFound` (`dataset_not_found`) or `Forbidden`."""
    dataset: Dataset | None = Dataset.objects.visible_to(actor).filter(pk=dataset_id).first()
    if dataset is None:
        raise dataset_not_found()
    dataset_policy.check(actor, action, dataset)
    return dataset


def access_corpus(*, actor: Viewer, corpus_id: UUID | str, action: str = "view") -> Corpus:
    """The corpus, if `actor` may do `action` to it. Raises `NotFound` (`corpus_not_found`) or `Forbidden`."""
    corpus: Corpus | None = Corpus.objects.visible_to(actor).filter(pk=corpus_id).first()
    if corpus is None:
        raise corpus_not_found()
    corpus_policy.check(actor, action, corpus)
    return corpus


def search_corpus(corpus_id: UUID | str, query: str, k: int) -> list[str]:
    """The at most `k` passages that answer `query` best, as `title: text`.

    It asks no policy: whoever may execute a program may have its corpus searched. Safe to call from any thread.
    Raises `NotFound` (`corpus_not_found`).
    """
    key = Corpus.objects.filter(pk=corpus_id).values_list("pk", "content_hash").first()
    if key is None:
        raise corpus_not_found()
    texts, index = _indexed(*key)
    return [texts[position] for position, _score in index.search(query, k)]


@lru_cache(maxsize=INDEXES_PER_PROCESS)
def _indexed(corpus_id: UUID, content_hash: str) -> tuple[tuple[str, ...], Index]:
    """The texts of a corpus and their index; `content_hash` makes the entry of changed content another one."""
    passages = Passage.objects.filter(corpus_id=corpus_id).order_by("position")
    texts = tuple(passage.as_spec().as_text for passage in passages)
    return texts, Index.build(texts)
