"""Executions become examples: what is taken, what people corrected, what is left out, and where it came from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from datasets.models import Dataset, Example
from executions.models import Execution
from executions.services import collect_examples, rate_execution
from mlops.errors import DomainError, Forbidden, Invalid, NotFound
from mlops.models import User
from programs.models import Program, PromptSet
from tests.conftest import api_of
from tests.executions.rows import make_prompt_set, new_execution, result, started

COLLECT = "/api/v1/executions/collect/"


def done(user: User, prompt_set: PromptSet, question: Any, answer: Any = "because", **fields: Any) -> Execution:
    """A stored execution that is completed; `output` may replace the answer."""
    output = fields.pop("output", {"answer": answer})
    execution = started(new_execution(user, prompt_set, input={"question": question}, **fields))
    execution.complete(result(output=output))
    execution.save()
    return execution


def collected(actor: User, **options: Any) -> list[dict[str, Any]]:
    dataset = collect_examples(actor=actor, **{"name": "asked", "type": "training", **options})
    return list(dataset.examples.order_by("position").values_list("data", flat=True))


def refused(error: type[DomainError], code: str, **arguments: Any) -> DomainError:
    with pytest.raises(error) as refusal:
        collect_examples(**{"name": "asked", "type": "training", **arguments})
    assert refusal.value.code == code
    assert not Dataset.objects.exists()
    return refusal.value


@pytest.fixture
def prompt_set(db: None) -> PromptSet:
    return make_prompt_set()


def test_input_and_output_become_an_example_with_its_source(erin: User, alice: User, prompt_set: PromptSet) -> None:
    first, second = done(alice, prompt_set, "one?"), done(erin, prompt_set, "two?", "two")
    dataset = collect_examples(actor=erin, name="asked", type="test", description="From June.")
    assert (str(dataset), dataset.size) == ("asked/test@1", 2)
    assert dataset.description == "From June. Collected from 2 executions."
    assert list(Example.objects.order_by("position").values_list("data", "source_kind", "source_id")) == [
        ({"question": "one?", "answer": "because"}, "execution", first.pk),
        ({"question": "two?", "answer": "two"}, "execution", second.pk),
    ]
    assert str(collect_examples(actor=erin, name="asked", type="test")) == "asked/test@2"


def test_what_people_expected_stands_in_place_of_the_output(erin: User, prompt_set: PromptSet) -> None:
    wrong = done(erin, prompt_set, "capital?", output={"answer": "Rome", "sure": True})
    rate_execution(actor=erin, execution=wrong, name="right", score=0, expected={"answer": "Milan"})
    rate_execution(actor=erin, execution=wrong, name="right", score=0, expected={"answer": "Paris"})
    rate_execution(actor=erin, execution=wrong, name="tone", score=1)
    plain = done(erin, prompt_set, "intent?", "return_request")
    rate_execution(actor=erin, execution=plain, name="right", score=0, expected="refund_status")
    dataset = collect_examples(actor=erin, name="asked", type="training")
    assert [example.data for example in dataset.examples.order_by("position")] == [
        {"question": "capital?", "answer": "Paris", "sure": True},
        {"question": "intent?", "answer": "refund_status"},
    ]
    assert dataset.description == "Collected from 2 executions. 2 with an answer that people expected instead."


def test_an_expectation_that_fits_no_output_is_left_out_and_counted(erin: User, prompt_set: PromptSet) -> None:
    unclear = done(erin, prompt_set, "capital?", output={"answer": "Rome", "sure": True})
    rate_execution(actor=erin, execution=unclear, name="right", score=0, expected="Paris")
    other = done(erin, prompt_set, "river?", output={"answer": "Po", "sure": True})
    rate_execution(actor=erin, execution=other, name="right", score=0, expected={"reply": "Seine"})
    done(erin, prompt_set, "kept?", output={"answer": "yes", "sure": True})
    dataset = collect_examples(actor=erin, name="asked", type="training")
    assert dataset.size == 1
    assert "2 left out, whose expected value belongs to no output." in dataset.description


def test_duplicates_are_left_out_and_counted(erin: User, prompt_set: PromptSet) -> None:
    done(erin, prompt_set, "same?")
    newest = done(erin, prompt_set, "same?")
    done(erin, prompt_set, "same?", "another answer")
    dataset = collect_examples(actor=erin, name="asked", type="training")
    assert dataset.size == 2
    assert dataset.description == "Collected from 2 executions. 1 duplicates left out."
    assert dataset.examples.order_by("position")[0].source_id == newest.pk


def test_feedback_chooses(erin: User, prompt_set: PromptSet) -> None:
    def rated(question: str, *scores: tuple[str, float]) -> None:
        execution = done(erin, prompt_set, question)
        for name, score in scores:
            rate_execution(actor=erin, execution=execution, name=name, score=score)

    rated("good", ("right", 1.0))
    rated("first bad, then good", ("right", 0.0), ("right", 0.8))
    rated("bad", ("right", 0.2))
    rated("only tone", ("tone", 1.0))
    rated("unrated")

    def questions(**options: Any) -> list[str]:
        return [data["question"] for data in collected(erin, **options)]

    assert questions(feedback_name="right") == ["good", "first bad, then good", "bad"]
    assert questions(feedback_name="right", min_score=0.5) == ["good", "first bad, then good"]
    assert questions(max_score=0.5) == ["bad"]
    assert questions(min_score=0.9) == ["good", "only tone"]
    assert len(questions()) == 5


def test_program_and_time_choose(erin: User, prompt_set: PromptSet) -> None:
    other = make_prompt_set("other")
    second = Program.objects.create(name="stored", version=2)
    of_second = PromptSet.objects.create(program=second, digest="2")
    now = timezone.now()
    done(erin, prompt_set, "old", created_at=now - timedelta(days=2))
    done(erin, prompt_set, "new", created_at=now)
    done(erin, of_second, "of two")
    done(erin, other, "of another")

    def questions(**options: Any) -> list[str]:
        return [data["question"] for data in collected(erin, **options)]

    assert questions(program=prompt_set.program) == ["old", "new"]
    assert questions(program="stored@2") == ["of two"]
    assert questions(program=str(second.pk)) == ["of two"]
    assert questions(program="stored") == ["old", "new", "of two"]
    assert questions(program="stored", limit=2) == ["new", "of two"]
    assert questions(program="stored@1", since=now) == ["new"]
    assert questions(program="stored@1", until=now) == ["old"]
    chosen = Execution.objects.filter(program=second).values_list("pk", flat=True)
    assert questions(executions=chosen) == ["of two"]


def test_executions_of_several_programs_are_not_mixed(erin: User, prompt_set: PromptSet) -> None:
    done(erin, prompt_set, "one")
    done(erin, make_prompt_set("other"), "two")
    assert "other, stored" in refused(Invalid, "several_programs", actor=erin).message


def test_what_was_not_kept_or_did_not_end_well_is_no_example(erin: User, prompt_set: PromptSet) -> None:
    done(erin, prompt_set, "x", output={"answer": "y"}).save()
    Execution.objects.update(input={}, output={})
    new_execution(erin, prompt_set).save()
    cancelled = new_execution(erin, prompt_set)
    cancelled.cancel()
    cancelled.save()
    refused(Invalid, "nothing_to_collect", actor=erin)


def test_only_what_the_actor_sees_is_collected(erin: User, alice: User, prompt_set: PromptSet) -> None:
    done(alice, prompt_set, "mine?")
    refused(Forbidden, "execution_collect_forbidden", actor=alice)
    Program.objects.update(group=Group.objects.create(name="inner circle"))
    refused(Invalid, "nothing_to_collect", actor=erin)
    refused(NotFound, "program_not_found", actor=erin, program="stored")


@pytest.mark.parametrize(
    ("options", "code", "field"),
    [
        ({"limit": 0}, "collection_invalid", "limit"),
        ({"limit": 10_001}, "collection_invalid", "limit"),
        ({"min_score": 2}, "collection_invalid", "min_score"),
        ({"max_score": float("nan")}, "collection_invalid", "max_score"),
        ({"min_score": 0.5, "max_score": 0.4}, "collection_invalid", "max_score"),
        ({"feedback_name": "\x00"}, "collection_invalid", "feedback_name"),
        ({"name": "Not A Name"}, "name_invalid", "name"),
        ({"type": "holiday"}, "dataset_type_unknown", "type"),
    ],
)
def test_bad_arguments_are_named(
    erin: User, prompt_set: PromptSet, options: dict[str, Any], code: str, field: str
) -> None:
    done(erin, prompt_set, "x")
    assert refused(Invalid, code, actor=erin, **options).field == field


def test_many_executions_are_read_in_few_queries(
    erin: User, prompt_set: PromptSet, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        rate_execution(actor=erin, execution=done(erin, prompt_set, number), name="right", score=1, expected="x")
    with django_assert_max_num_queries(16):
        assert len(collected(erin)) == 30


def test_collecting_over_rest(erin: User, alice: User, prompt_set: PromptSet) -> None:
    done(erin, prompt_set, "one?")
    api = api_of(erin)
    body = {"name": "asked", "type": "training", "program": "stored", "limit": 10}
    made = api.post(COLLECT, body, format="json")
    assert made.status_code == 201, made.json()
    dataset = Dataset.objects.get()
    assert made["Location"].endswith(f"/api/v1/datasets/{dataset.pk}/")
    assert (made.json()["id"], made.json()["size"]) == (str(dataset.pk), 1)
    nothing = api.post(COLLECT, {**body, "since": "2099-01-01T00:00:00Z"}, format="json")
    assert (nothing.status_code, nothing.json()["code"]) == (400, "nothing_to_collect")
    assert api_of(alice).post(COLLECT, body, format="json").status_code == 403
    assert api.get(COLLECT).status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "a", "type": "x"},
        {"name": "a", "type": "test", "limit": "many"},
        {"name": "a", "type": "test", "min_score": 3},
        {"name": "a", "type": "test", "since": "yesterday"},
        {"name": "a", "type": "test", "since": "0001-01-01T00:00:00+14:00"},
        {"name": "a", "type": "test", "program": "\x00"},
        {"name": "a", "type": "test", "feedback_name": "\x00"},
        {"name": "a", "type": "test", "executions": ["x"]},
        {"name": "a", "type": "test", "colour": "red"},
    ],
)
def test_bad_bodies_are_refused(erin: User, prompt_set: PromptSet, body: dict[str, Any]) -> None:
    done(erin, prompt_set, "x")
    answer = api_of(erin).post(COLLECT, body, format="json")
    assert answer.status_code in (400, 404), answer.content
    assert answer.json()["code"]
    assert not Dataset.objects.exists()
