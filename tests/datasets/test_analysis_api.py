"""Statistics, overlap and splits over REST."""

from __future__ import annotations

from typing import Any

import pytest

from datasets import services
from datasets.models import Dataset
from mlops.models import User
from tests.conftest import api_of

pytestmark = pytest.mark.django_db


def messages(numbers: range) -> list[dict[str, Any]]:
    return [{"message": f"number {number}", "intent": "abcde"[number % 5]} for number in numbers]


@pytest.fixture
def dataset(erin: User) -> Dataset:
    return services.create_dataset(actor=erin, name="triage", type="training", examples=messages(range(20)))


@pytest.fixture
def sealed(erin: User) -> Dataset:
    return services.create_dataset(actor=erin, name="triage", type="test", examples=messages(range(15, 30)))


def address(dataset: Dataset, verb: str) -> str:
    return f"/api/v1/datasets/{dataset.pk}/{verb}/"


def test_statistics_are_read(erin: User, dataset: Dataset) -> None:
    answer = api_of(erin).get(address(dataset, "statistics"))
    assert answer.status_code == 200
    assert answer.json()["fields"]["intent"]["majority"]["share"] == 0.2
    assert answer.json() == Dataset.objects.get().statistics


def test_overlap_names_sealed_test_sets(erin: User, dataset: Dataset, sealed: Dataset) -> None:
    expected = {
        "dataset_id": str(sealed.pk),
        "name": "triage",
        "type": "test",
        "version": 1,
        "size": 15,
        "sealed": True,
        "shared": 5,
        "share": 0.25,
    }
    api = api_of(erin)
    assert api.get(address(dataset, "overlap")).json() == [expected]
    assert api.get(f"{address(dataset, 'overlap')}?with={sealed.pk}").json() == [expected]
    by_label = api.get(f"{address(dataset, 'overlap')}?with={sealed.pk}&fields=intent").json()
    assert [(row["shared"], row["share"]) for row in by_label] == [(5, 1.0)]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("fields=message", 400, "required"),
        ("with=nonsense", 404, "dataset_not_found"),
        ("with=00000000-0000-0000-0000-000000000000", 404, "dataset_not_found"),
    ],
)
def test_wrong_questions_are_refused(erin: User, dataset: Dataset, query: str, status: int, code: str) -> None:
    answer = api_of(erin).get(f"{address(dataset, 'overlap')}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_dataset_is_split(erin: User, dataset: Dataset) -> None:
    body = {"fractions": {"training": 0.5, "validation": 0.25, "test": 0.25}, "seed": 7, "stratify_by": "intent"}
    answer = api_of(erin).post(address(dataset, "split"), body)
    assert answer.status_code == 201
    assert [(row["type"], row["version"], row["size"]) for row in answer.json()] == [
        ("training", 2, 10),
        ("validation", 1, 5),
        ("test", 1, 5),
    ]
    assert {row["name"] for row in answer.json()} == {"triage"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "required"),
        ({"fractions": {"training": 0.5}}, 400, "fractions_invalid"),
        ({"fractions": {"training": "half", "test": 0.5}}, 400, "invalid"),
        ({"fractions": {"training": 0.5, "test": 0.5}, "seed": "x"}, 400, "invalid"),
        ({"fractions": {"training": 0.5, "test": 0.5}, "shuffle": True}, 400, "unknown_field"),
        ({"fractions": {"training": 0.5, "test": 0.5}, "stratify_by": "nothing"}, 400, "unknown_field"),
    ],
)
def test_wrong_splits_are_refused(erin: User, dataset: Dataset, body: dict[str, Any], status: int, code: str) -> None:
    answer = api_of(erin).post(address(dataset, "split"), body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert Dataset.objects.count() == 1


def test_a_sealed_test_set_is_not_split_into_training(erin: User, sealed: Dataset) -> None:
    answer = api_of(erin).post(address(sealed, "split"), {"fractions": {"training": 0.5, "test": 0.5}})
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset_sealed")


def test_an_ml_user_finds_nothing(alice: User, dataset: Dataset) -> None:
    api = api_of(alice)
    assert api.get(address(dataset, "statistics")).status_code == 404
    assert api.get(address(dataset, "overlap")).status_code == 404
    assert api.post(address(dataset, "split"), {"fractions": {"training": 0.5, "test": 0.5}}).status_code == 404
