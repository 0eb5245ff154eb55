"""Datasets cut into parts: the verb, REST and the button of the admin."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from datasets.models import Dataset, Example
from datasets.runtime.splitting import split
from datasets.services import create_dataset, splitting, update_dataset
from datasets.services.splitting import split_dataset
from mlops.errors import Conflict, DomainError, Forbidden, Invalid
from mlops.models import User

FRACTIONS = {"training": 0.6, "validation": 0.2, "test": 0.2}


def messages(count: int = 50) -> list[dict[str, Any]]:
    return [{"message": f"number {number}", "intent": "abcde"[number % 5]} for number in range(count)]


@pytest.fixture
def dataset(erin: User) -> Dataset:
    return create_dataset(actor=erin, name="triage", type="training", examples=messages(), schema={"type": "object"})


def contents(dataset: Dataset) -> set[str]:
    return set(dataset.examples.values_list("content_hash", flat=True))


def test_parts_are_next_versions_and_know_where_their_examples_come_from(erin: User, dataset: Dataset) -> None:
    parts = split_dataset(actor=erin, dataset=dataset, fractions=FRACTIONS, seed=3)
    assert [str(part) for part in parts] == ["triage/training@2", "triage/validation@1", "triage/test@1"]
    assert [part.size for part in parts] == [30, 10, 10]
    assert [part.examples.count() for part in parts] == [30, 10, 10]
    assert parts[0].schema == {"type": "object"}
    assert parts[0].description == "Split from triage/training@1 with seed 3."
    assert contents(parts[0]) | contents(parts[1]) | contents(parts[2]) == contents(dataset)
    for example in Example.objects.filter(dataset=parts[2]):
        original = Example.objects.get(pk=example.source_id)
        assert (example.source_kind, original.dataset_id) == ("example", dataset.pk)
        assert (example.data, example.content_hash) == (original.data, original.content_hash)
    assert list(parts[1].examples.order_by("position").values_list("position", flat=True)) == list(range(10))
    assert Dataset.history.filter(id=parts[0].pk).get().history_change_reason == "split_dataset"


def test_a_dataset_whose_examples_went_meanwhile_is_not_split(
    erin: User, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_then_replaced(*args: Any) -> Any:
        parts = split(*args)
        update_dataset(actor=erin, dataset=dataset, examples=messages())  # of equal content, as other rows
        return parts

    monkeypatch.setattr(splitting, "split", and_then_replaced)
    with pytest.raises(Conflict) as refusal:
        split_dataset(actor=erin, dataset=dataset, fractions=FRACTIONS)
    assert refusal.value.code == "dataset_changed"
    assert Dataset.objects.get() == dataset


def test_the_order_of_the_examples_does_not_matter_and_the_seed_does(erin: User, dataset: Dataset) -> None:
    turned = create_dataset(actor=erin, name="turned", type="training", examples=messages()[::-1])
    first = split_dataset(actor=erin, dataset=dataset, fractions=FRACTIONS, seed=3)
    second = split_dataset(actor=erin, dataset=turned, fractions=FRACTIONS, seed=3)
    other = split_dataset(actor=erin, dataset=dataset, fractions=FRACTIONS, seed=4)
    assert [part.content_hash for part in first] == [part.content_hash for part in second]
    assert contents(first[2]) != contents(other[2])


def test_a_field_keeps_its_distribution(erin: User, dataset: Dataset) -> None:
    parts = split_dataset(actor=erin, dataset=dataset, fractions=FRACTIONS, stratify_by="intent", name="fair")
    counted = [Counter(example.data["intent"] for example in part.examples.all()) for part in parts]
    assert counted == [dict.fromkeys("abcde", 6), dict.fromkeys("abcde", 2), dict.fromkeys("abcde", 2)]
    assert {part.name for part in parts} == {"fair"}


def test_equal_examples_are_never_in_two_parts(erin: User) -> None:
    doubled = create_dataset(actor=erin, name="doubled", type="training", examples=messages(20) * 3)
    parts = split_dataset(actor=erin, dataset=doubled, fractions=FRACTIONS)
    assert [part.size for part in parts] == [36, 12, 12]
    assert not contents(parts[0]) & contents(parts[2])
    assert not contents(parts[0]) & contents(parts[1])
    assert not contents(parts[1]) & contents(parts[2])


@pytest.mark.parametrize(
    ("fractions", "problem"),
    [
        ({"training": 0.5, "test": 0.4}, ("fractions", "not_one")),
        ({"training": 0.9999}, ("fractions", "too_few_parts")),
        ({}, ("fractions", "too_few_parts")),
        ({"training": 1.0, "test": 0.0}, ("fractions.training", "out_of_range")),
        ({"training": -0.5, "test": 1.5}, ("fractions.training", "out_of_range")),
        ({"training": float("nan"), "test": 0.5}, ("fractions.training", "out_of_range")),
        ({"training": True, "test": 0.5}, ("fractions.training", "out_of_range")),
        ({"training": "0.5", "test": 0.5}, ("fractions.training", "out_of_range")),
        ({"training": 0.5, "holdout": 0.5}, ("fractions.holdout", "dataset_type_unknown")),
    ],
)
def test_wrong_fractions_are_refused(
    erin: User, dataset: Dataset, fractions: dict[str, Any], problem: tuple[str, str]
) -> None:
    with pytest.raises(Invalid) as refusal:
        split_dataset(actor=erin, dataset=dataset, fractions=fractions)
    assert refusal.value.code == "fractions_invalid"
    assert (refusal.value.problems[0].field, refusal.value.problems[0].code) == problem
    assert Dataset.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"stratify_by": "nothing"}, "unknown_field", "stratify_by"),
        ({"seed": -1}, "seed_invalid", "seed"),
        ({"seed": True}, "seed_invalid", "seed"),
        ({"name": "Not a name"}, "name_invalid", "name"),
        ({"fractions": {"training": 0.999, "test": 0.001}}, "too_few_examples", "fractions.test"),
    ],
)
def test_other_wrong_arguments_are_refused(
    erin: User, dataset: Dataset, changes: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(DomainError) as refusal:
        split_dataset(actor=erin, dataset=dataset, **{"fractions": FRACTIONS, **changes})
    assert (refusal.value.code, refusal.value.field) == (code, field)
    assert Dataset.objects.count() == 1


def test_a_sealed_test_set_does_not_become_training_data(erin: User) -> None:
    sealed = create_dataset(actor=erin, name="triage", type="test", examples=messages())
    with pytest.raises(Conflict) as refusal:
        split_dataset(actor=erin, dataset=sealed, fractions={"training": 0.5, "test": 0.5})
    assert refusal.value.code == "dataset_sealed"
    assert Dataset.objects.count() == 1
    halves = split_dataset(actor=erin, dataset=sealed, fractions={"validation": 0.5, "test": 0.5})
    assert [str(part) for part in halves] == ["triage/validation@1", "triage/test@2"]


def test_what_is_being_imported_cannot_be_split_yet(erin: User, dataset: Dataset) -> None:
    Dataset.objects.update(state="importing")
    with pytest.raises(Conflict, match="still being imported"):
        split_dataset(actor=erin, dataset=Dataset.objects.get(), fractions=FRACTIONS)


def test_content_that_changed_meanwhile_is_not_split(erin: User, dataset: Dataset) -> None:
    Dataset.objects.update(content_hash="other")
    with pytest.raises(Conflict) as refusal:
        split_dataset(actor=erin, dataset=dataset, fractions=FRACTIONS)
    assert refusal.value.code == "dataset_changed"
    assert Dataset.objects.count() == 1


def test_an_ml_user_may_not(alice: User, dataset: Dataset) -> None:
    with pytest.raises(Forbidden):
        split_dataset(actor=alice, dataset=dataset, fractions=FRACTIONS)
