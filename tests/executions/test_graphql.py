"""Executions, metrics and evaluations over GraphQL."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.utils import timezone

from datasets.services import create_dataset
from executions.models import Evaluation, Execution
from executions.services import create_metric, evaluate_program
from executions.types import ExecutionState
from mlops.models import User
from programs.models import Program
from programs.services import choose_prompt_set
from tests.executions.programs import make_program, provided_model
from tests.graphql import asked, codes_of, data_of, nodes, queries_for
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

LATEST = """query L($first: Int!) { listPrograms { edges { node { name executions(first: $first) { edges { node {
    id state input output costUsd trace user { username } program { name } feedback { edges { node { score } } }
} } } } } } }"""

EXECUTE = """mutation E($program: ID!, $input: JSONObject!, $wait: Float, $key: String) { executeProgram(input: {
    program: $program, input: $input, waitSeconds: $wait, idempotencyKey: $key}) {
    execution { id state output source costUsd } errors { code message field } } }"""


def executions_of(user: User, program: Program, number: int) -> list[Execution]:
    now, prompts = timezone.now(), choose_prompt_set(program)
    return [
        Execution.objects.create(
            user=user, program=program, prompt_set=prompts, mode="async", source="rest", input={"question": str(one)},
            output={"answer": str(one)}, trace={"spans": [{"id": 0, "cost": 10**12}]}, cost=10**12, attempt=1,
            state=ExecutionState.COMPLETED.value, started_at=now, finished_at=now,
        )
        for one in range(number)
    ]  # fmt: skip


def test_programs_with_their_latest_executions_take_as_many_queries_for_five_as_for_two(
    erin: User, alice: User, provider: Provider
) -> None:
    provided_model(provider)
    for number in range(2):
        executions_of(alice, make_program(name=f"program{number}"), 3)
    few = queries_for(erin, LATEST, first=2)
    for number in range(2, 5):
        executions_of(alice, make_program(name=f"program{number}"), 3)

    assert queries_for(erin, LATEST, first=2) == few
    for program in nodes(data_of(erin, LATEST, first=2)["listPrograms"]):
        found = nodes(program["executions"])
        assert [row["output"] for row in found] == [{"answer": "2"}, {"answer": "1"}]
        assert found[0]["trace"] == {"spans": [{"id": 0, "cost_usd": "1"}]}
        assert (found[0]["costUsd"], found[0]["program"]) == ("1", {"name": program["name"]})


def test_people_see_their_own_executions_below_a_program_that_is_everybodys(
    alice: User, bob: User, provider: Provider
) -> None:
    provided_model(provider)
    program = make_program()
    mine, theirs = executions_of(alice, program, 1)[0], executions_of(bob, program, 1)[0]

    (shown,) = nodes(data_of(alice, LATEST, first=5)["listPrograms"])
    assert [row["id"] for row in nodes(shown["executions"])] == [str(mine.pk)]
    query = "query E($id: ID!) { getExecution(id: $id) { id } node(id: $id) { id } }"
    hidden = asked(alice, query, id=str(theirs.pk))
    assert codes_of(hidden) == ["execution_not_found"]
    assert hidden["data"] == {"getExecution": None, "node": None}


def test_executing_starts_it_and_returns_it(alice: User, provider: Provider) -> None:
    provided_model(provider)
    make_program()

    told = data_of(alice, EXECUTE, program="answering", input={"question": "Why?"}, wait=None, key=None)
    execution = told["executeProgram"]["execution"]
    assert (execution["state"], execution["source"]) == ("pending", "graphql")
    assert Execution.objects.get().user == alice
    assert not provider.requests


def test_executing_waits_as_long_as_it_is_told_and_happens_once_per_key(alice: User, provider: Provider) -> None:
    provided_model(provider)
    make_program()
    ask = {"program": "answering", "input": {"question": "Why?"}, "wait": 2, "key": "april"}

    first = data_of(alice, EXECUTE, **ask)["executeProgram"]
    assert first["errors"] == []
    assert first["execution"]["state"] == "completed"
    assert data_of(alice, EXECUTE, **ask)["executeProgram"]["execution"]["id"] == first["execution"]["id"]
    other = data_of(alice, EXECUTE, **{**ask, "input": {"question": "When?"}})["executeProgram"]
    assert [error["code"] for error in other["errors"]] == ["idempotency_key_reused"]
    assert Execution.objects.count() == len(provider.requests) == 1


@pytest.mark.parametrize(
    ("ask", "code", "field"),
    [
        ({"program": "nothing"}, "program_not_found", ""),
        ({"program": str(uuid.uuid4())}, "program_not_found", ""),
        ({"input": {}}, "missing", "question"),
        ({"input": {"question": 3}}, "wrong_type", "question"),
        ({"wait": 3}, "out_of_range", "waitSeconds"),
        ({"wait": -1}, "out_of_range", "waitSeconds"),
    ],
)
def test_what_cannot_be_executed_is_said_and_leaves_nothing(
    alice: User, provider: Provider, ask: dict[str, object], code: str, field: str
) -> None:
    provided_model(provider)
    make_program()

    told = data_of(alice, EXECUTE, **{"program": "answering", "input": {"question": "Why?"}, **ask})["executeProgram"]
    assert told["execution"] is None
    assert [(error["code"], error["field"]) for error in told["errors"]] == [(code, field)]
    assert not Execution.objects.exists()


def test_an_evaluation_is_asked_for_once_with_its_budget_and_seen_below_its_program(
    erin: User, provider: Provider
) -> None:
    provided_model(provider)
    program = make_program()
    data = create_dataset(actor=erin, name="cases", type="test", examples=[{"question": "Why?", "answer": "So."}])
    create_metric(actor=erin, name="right", kind="exact_match", config={"field": "answer"})
    start = """mutation E($program: ID!, $dataset: ID!, $cost: Decimal, $key: String) { evaluateProgram(input: {
        program: $program, dataset: $dataset, metrics: ["right"], budget: {costUsd: $cost}, idempotencyKey: $key}) {
        evaluation { id state budget size scores { metric { name } mean } } errors { code field } } }"""
    ask = {"program": str(program.pk), "dataset": str(data.pk), "cost": "1.5", "key": "april"}

    first = data_of(erin, start, **ask)["evaluateProgram"]
    assert first["errors"] == []
    assert first["evaluation"]["budget"] == {"cost_usd": "1.5"}
    assert first["evaluation"]["scores"] == [{"metric": {"name": "right"}, "mean": None}]
    assert data_of(erin, start, **ask)["evaluateProgram"] == first
    refused = data_of(erin, start, **{**ask, "key": None, "cost": "0.000000000001"})["evaluateProgram"]["errors"]
    assert [(error["code"], error["field"]) for error in refused] == [("budget_too_small", "budget.costUsd")]
    assert Evaluation.objects.count() == 1
    shown = data_of(erin, "{ listPrograms { edges { node { evaluations { edges { node { id } } } } } } }")
    assert nodes(nodes(shown["listPrograms"])[0]["evaluations"]) == [{"id": first["evaluation"]["id"]}]


def test_evaluations_with_scores_and_items_take_as_many_queries_for_four_as_for_one(
    erin: User, provider: Provider
) -> None:
    provided_model(provider)
    program = make_program()
    data = create_dataset(actor=erin, name="cases", type="test", examples=[{"question": "Why?", "answer": "So."}])
    metric = create_metric(actor=erin, name="right", kind="exact_match", config={"field": "answer"})
    query = """{ listEvaluations { edges { node { estimate program { name } dataset { name } scores { metric { name } }
        items { edges { node { scores example { data } } } } } } } }"""
    evaluate_program(actor=erin, program=program, dataset=data, metrics=[metric])
    few = queries_for(erin, query)
    for _ in range(3):
        evaluate_program(actor=erin, program=program, dataset=data, metrics=[metric])

    assert queries_for(erin, query) == few
    assert len(nodes(data_of(erin, query)["listEvaluations"])) == 4


PAGES = {
    "listExecutions": "%s",
    "listEvaluations": "%s",
    "Program.executions": "listPrograms { edges { node { %s } } }",
    "Program.evaluations": "listPrograms { edges { node { %s } } }",
    "PromptSet.executions": "listPromptSets { edges { node { %s } } }",
    "Dataset.evaluations": "listDatasets { edges { node { %s } } }",
}
"""Lists of what is filtered by its time, each below what it stands in."""


def shown(answer: Any) -> Any:
    """The innermost connection: every one of those above has one row."""
    (found,) = answer.values()
    return shown(nodes(found)[0]) if "pageInfo" not in found else found


@pytest.mark.parametrize("place", PAGES)
def test_lists_are_walked_to_their_end_and_bounded_by_time(erin: User, provider: Provider, place: str) -> None:
    provided_model(provider)
    program = make_program()
    rows: list[Any]
    if "xecutions" in place:
        rows = executions_of(erin, program, 3)
    else:
        data = create_dataset(actor=erin, name="cases", type="test", examples=[{"question": "Why?", "answer": "So."}])
        metric = create_metric(actor=erin, name="right", kind="exact_match", config={"field": "answer"})
        rows = [evaluate_program(actor=erin, program=program, dataset=data, metrics=[metric]) for _ in range(3)]
    latest_first = [str(row.pk) for row in reversed(rows)]
    field = place.rpartition(".")[2]
    ask = f"""query($first: Int, $after: String, $createdAfter: DateTime, $createdBefore: DateTime) {{ {
        PAGES[place]
        % (
            field + "(first: $first, after: $after, createdAfter: $createdAfter, createdBefore: $createdBefore)"
            "{ edges { node { id } } pageInfo { hasNextPage endCursor } }"
        )
    } }}"""

    walked, cursor = [], None
    for _ in rows:
        page = shown(data_of(erin, ask, first=1, after=cursor, createdAfter="2000-01-01T00:00:00Z"))
        walked += [node["id"] for node in nodes(page)]
        cursor = page["pageInfo"]["endCursor"]
    assert walked == latest_first
    assert page["pageInfo"]["hasNextPage"] is False
    times = {name: rows[1].created_at.isoformat() for name in ("createdAfter", "createdBefore")}
    since = nodes(shown(data_of(erin, ask, createdAfter=times["createdAfter"])))
    until = nodes(shown(data_of(erin, ask, createdBefore=times["createdBefore"])))
    assert [node["id"] for node in since] == latest_first[:2]
    assert [node["id"] for node in until] == latest_first[2:]
