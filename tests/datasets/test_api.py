"""Datasets and corpora over REST: read, and only by those who may."""

from __future__ import annotations

import pytest

from datasets import services
from datasets.models import Corpus, Dataset
from datasets.types import PassageSpec
from mlops.models import User
from tests.conftest import api_of


@pytest.fixture
def dataset(erin: User) -> Dataset:
    examples = [{"message": f"number {number}"} for number in range(3)]
    return services.create_dataset(actor=erin, name="triage", type="test", examples=examples)


@pytest.fixture
def corpus(erin: User) -> Corpus:
    passages = [PassageSpec("Returns", "Thirty days."), PassageSpec("Hours", "Nine to five.")]
    return services.create_corpus(actor=erin, name="support", passages=passages)


def test_a_list_leaves_out_what_is_heavy_and_the_detail_has_it(erin: User, dataset: Dataset) -> None:
    api = api_of(erin)
    (row,) = api.get("/api/v1/datasets/?name=triage&type=test").json()["results"]
    assert (row["id"], row["size"], "statistics" in row) == (str(dataset.pk), 3, False)
    detail = api.get(f"/api/v1/datasets/{dataset.pk}/").json()
    assert detail["schema"]["properties"] == {"message": {"type": "string"}}


def test_examples_are_paged_in_the_order_of_their_dataset(erin: User, dataset: Dataset) -> None:
    api = api_of(erin)
    services.create_dataset(actor=erin, name="other", type="test", examples=[{"a": 1}])
    first = api.get(f"/api/v1/examples/?dataset={dataset.pk}&page_size=2").json()
    second = api.get(first["next"]).json()
    assert [row["position"] for row in first["results"] + second["results"]] == [0, 1, 2]
    assert second["next"] is None
    example = api.get(f"/api/v1/examples/{first['results'][1]['id']}/").json()
    whole = api.get(f"/api/v1/examples/?dataset={dataset.pk}&data=true").json()["results"]
    assert [row["data"] for row in whole] == list(dataset.examples.order_by("position").values_list("data", flat=True))
    assert "data" not in first["results"][0]
    assert api.get("/api/v1/examples/?data=yes").json()["code"] == "invalid_choice"
    assert example["data"] == {"message": "number 1"}


def test_passages_are_those_of_the_corpus(erin: User, corpus: Corpus) -> None:
    api = api_of(erin)
    rows = api.get(f"/api/v1/passages/?corpus={corpus.pk}").json()["results"]
    assert [row["title"] for row in rows] == ["Returns", "Hours"]
    assert api.get(f"/api/v1/passages/{rows[0]['id']}/").json()["text"] == "Thirty days."
    assert api.get(f"/api/v1/corpora/{corpus.pk}/").json()["size"] == 2


def test_frozen_and_unfrozen_are_told_apart(erin: User, dataset: Dataset) -> None:
    api = api_of(erin)
    services.freeze_dataset(actor=erin, dataset=dataset)
    assert [len(api.get(f"/api/v1/datasets/?frozen={word}").json()["results"]) for word in ("true", "false")] == [1, 0]


def test_an_ml_user_finds_nothing(charlie: User, dataset: Dataset, corpus: Corpus) -> None:
    api = api_of(charlie)
    for path in ("datasets", "examples", "corpora", "passages"):
        assert api.get(f"/api/v1/{path}/").json()["results"] == []
    assert api.get(f"/api/v1/datasets/{dataset.pk}/").status_code == 404
    assert api.get(f"/api/v1/corpora/{corpus.pk}/").status_code == 404


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_single_examples_are_not_written(erin: User, dataset: Dataset, method: str) -> None:
    example = dataset.examples.get(position=0)
    assert getattr(api_of(erin), method)(f"/api/v1/examples/{example.pk}/", {}).status_code == 405
    assert dataset.examples.count() == 3


@pytest.mark.parametrize("path", ["datasets", "examples", "corpora", "passages"])
def test_a_list_asks_the_database_a_fixed_number_of_times(
    erin: User, dataset: Dataset, corpus: Corpus, path: str, django_assert_max_num_queries: object
) -> None:
    api = api_of(erin)
    api.get(f"/api/v1/{path}/")
    with django_assert_max_num_queries(2):  # type: ignore[operator]  # pytest-django's context manager
        assert api.get(f"/api/v1/{path}/").status_code == 200
