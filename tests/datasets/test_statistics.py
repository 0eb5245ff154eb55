"""Statistics of a dataset, kept with its content, and what it has in common with others."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from datasets.models import Dataset, Example
from datasets.services import create_dataset
from datasets.services.statistics import compute_statistics, overlap
from mlops.errors import Conflict, Forbidden, Invalid
from mlops.models import User


def messages(numbers: range, intent: str = "card") -> list[dict[str, Any]]:
    return [{"message": f"number {number}", "intent": intent} for number in numbers]


def make(actor: User, name: str, type_: str, examples: list[dict[str, Any]]) -> Dataset:
    return create_dataset(actor=actor, name=name, type=type_, examples=examples)


@pytest.fixture
def training(erin: User) -> Dataset:
    return make(erin, "triage", "training", [*messages(range(8)), *messages(range(2)), {"message": None}])


def test_fields_are_described(erin: User, training: Dataset) -> None:
    found = compute_statistics(actor=erin, dataset=training)
    assert (found["size"], found["duplicates"], found["content_hash"]) == (11, 2, training.content_hash)
    assert found["fields"]["message"]["missing"] == 1
    assert found["fields"]["message"]["lengths"]["max"] == 8
    assert found["fields"]["intent"]["majority"] == {"value": "card", "count": 10, "share": 1.0}


def test_they_are_worked_out_once_for_a_content(erin: User, training: Dataset, django_assert_num_queries: Any) -> None:
    changed_at = training.updated_at
    first = compute_statistics(actor=erin, dataset=training)
    stored = Dataset.objects.get(pk=training.pk)
    assert (stored.statistics, stored.updated_at) == (first, changed_at)
    assert Dataset.history.filter(id=training.pk).count() == 1
    with django_assert_num_queries(0):
        assert compute_statistics(actor=erin, dataset=stored) == first


def test_they_are_worked_out_again_when_the_content_has_changed(erin: User, training: Dataset) -> None:
    compute_statistics(actor=erin, dataset=training)
    Example.objects.filter(dataset=training, position=10).delete()
    Dataset.objects.filter(pk=training.pk).update(content_hash="other", size=10)
    found = compute_statistics(actor=erin, dataset=Dataset.objects.get(pk=training.pk))
    assert (found["size"], found["content_hash"]) == (10, "other")


def test_those_of_content_that_is_gone_are_not_kept(erin: User, training: Dataset) -> None:
    Dataset.objects.filter(pk=training.pk).update(content_hash="other")
    compute_statistics(actor=erin, dataset=training)
    assert Dataset.objects.get(pk=training.pk).statistics.get("content_hash") is None


def test_of_what_is_being_imported_nothing_is_said_yet(erin: User, training: Dataset) -> None:
    Dataset.objects.update(state="importing")
    row = Dataset.objects.get()
    with pytest.raises(Conflict, match="still being imported"):
        compute_statistics(actor=erin, dataset=row)
    with pytest.raises(Conflict, match="still being imported"):
        overlap(actor=erin, dataset=row)


def test_an_ml_user_learns_nothing(alice: User, training: Dataset) -> None:
    with pytest.raises(Forbidden):
        compute_statistics(actor=alice, dataset=training)
    with pytest.raises(Forbidden):
        overlap(actor=alice, dataset=training)


def shared(rows: list[Any]) -> dict[UUID, tuple[int, bool]]:
    return {row.dataset_id: (row.shared, row.sealed) for row in rows}


def test_examples_that_are_elsewhere_too_are_counted_once_each(erin: User, training: Dataset) -> None:
    test = make(erin, "triage", "test", messages(range(5, 20)) * 2)
    validation = make(erin, "triage", "validation", messages(range(4)))
    make(erin, "other", "test", messages(range(100, 110)))
    rows = overlap(actor=erin, dataset=training)
    assert shared(rows) == {validation.pk: (4, False), test.pk: (3, True)}
    assert [row.shared for row in rows] == [4, 3]
    assert rows[1].share == pytest.approx(3 / 9)
    assert (rows[1].name, rows[1].type, rows[1].version, rows[1].size) == ("triage", "test", 1, 30)
    assert shared(overlap(actor=erin, dataset=training, others=[test])) == {test.pk: (3, True)}
    assert overlap(actor=erin, dataset=training, others=[]) == []


def test_what_is_being_imported_is_not_compared_with(erin: User, training: Dataset) -> None:
    test = make(erin, "triage", "test", messages(range(5)))
    Dataset.objects.filter(pk=test.pk).update(state="importing")
    assert overlap(actor=erin, dataset=training) == []


def test_by_its_inputs_an_example_is_the_same_whatever_its_label(erin: User, training: Dataset) -> None:
    test = make(erin, "triage", "test", messages(range(4), intent="transfer"))
    assert overlap(actor=erin, dataset=training, others=[test]) == []
    (row,) = overlap(actor=erin, dataset=training, others=[test], fields=["message"])
    assert (row.dataset_id, row.shared) == (test.pk, 4)
    assert row.share == pytest.approx(4 / 9)


def test_fields_need_datasets_to_compare_with_and_have_to_exist(erin: User, training: Dataset) -> None:
    with pytest.raises(Invalid) as refusal:
        overlap(actor=erin, dataset=training, fields=["message"])
    assert (refusal.value.code, refusal.value.field) == ("required", "with")
    with pytest.raises(Invalid) as refusal:
        overlap(actor=erin, dataset=training, others=[training], fields=["nothing"])
    assert (refusal.value.code, refusal.value.field) == ("unknown_field", "fields")


def test_it_is_one_question_to_the_index_of_contents(
    erin: User, training: Dataset, django_assert_num_queries: Any
) -> None:
    make(erin, "triage", "test", messages(range(5)))
    with django_assert_num_queries(3):
        assert len(overlap(actor=erin, dataset=training)) == 1
