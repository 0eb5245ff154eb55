"""Looking up datasets and searching corpora."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from datasets import selectors, services
from datasets.models import Corpus
from datasets.types import PassageSpec
from mlops.errors import NotFound
from mlops.models import User
from mlops.models.base import new_id

PASSAGES = [
    PassageSpec("Returns", "Goods may be sent back within thirty days."),
    PassageSpec("Workshop", "The workshop opens at nine."),
    PassageSpec("", "Frames are covered for five years."),
]


def make_corpus(actor: User, passages: list[PassageSpec] = PASSAGES) -> Corpus:
    return services.create_corpus(actor=actor, name="support", passages=passages)


def test_a_search_gives_title_and_text(erin: User) -> None:
    corpus = make_corpus(erin)
    assert selectors.search_corpus(corpus.pk, "when does the workshop open", 1) == [
        "Workshop: The workshop opens at nine."
    ]
    assert selectors.search_corpus(str(corpus.pk), "covered frames", 5) == ["Frames are covered for five years."]


def test_a_search_of_nothing_known_finds_nothing(erin: User) -> None:
    assert selectors.search_corpus(make_corpus(erin).pk, "", 3) == []


def test_versions_do_not_share_an_index(erin: User) -> None:
    old, new = make_corpus(erin), make_corpus(erin, [PassageSpec("Workshop", "Closed.")])
    assert [selectors.search_corpus(row.pk, "workshop", 1) for row in (old, new)] == [
        ["Workshop: The workshop opens at nine."],
        ["Workshop: Closed."],
    ]


def test_a_second_search_reads_no_passages(erin: User, django_assert_num_queries: Any) -> None:
    corpus = make_corpus(erin)
    selectors.search_corpus(corpus.pk, "goods", 1)
    with django_assert_num_queries(1):
        selectors.search_corpus(corpus.pk, "workshop", 1)


def test_a_missing_corpus_is_said_so(db: None) -> None:
    with pytest.raises(NotFound) as refusal:
        selectors.search_corpus(new_id(), "goods", 1)
    assert refusal.value.code == "corpus_not_found"


@pytest.mark.django_db(transaction=True)
def test_threads_share_an_index() -> None:
    corpus = make_corpus(User.objects.create_user("erin", role="ml_engineer"))
    expected = selectors.search_corpus(corpus.pk, "goods workshop frames", 3)

    def search(_number: int) -> list[str]:
        try:
            return selectors.search_corpus(corpus.pk, "goods workshop frames", 3)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(search, range(64))) == [expected] * 64
    assert len(expected) == 3


def test_what_an_actor_may_not_see_is_not_there(erin: User, charlie: User) -> None:
    corpus = make_corpus(erin)
    dataset = services.create_dataset(actor=erin, name="triage", type="test", examples=[{"a": 1}])
    assert selectors.access_corpus(actor=erin, corpus_id=corpus.pk) == corpus
    assert selectors.access_dataset(actor=erin, dataset_id=dataset.pk, action="delete") == dataset
    for lookup in (
        lambda: selectors.access_corpus(actor=charlie, corpus_id=corpus.pk),
        lambda: selectors.access_dataset(actor=charlie, dataset_id=dataset.pk),
    ):
        with pytest.raises(NotFound):
            lookup()
