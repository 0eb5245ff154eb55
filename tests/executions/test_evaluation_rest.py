"""Evaluations over REST."""

from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from executions.models import Evaluation
from executions.services import run_evaluation_here
from mlops.models import User
from programs.models import Program
from tests.conftest import api_of
from tests.executions.evaluating import numbers, right_answer, tell
from tests.executions.programs import make_program, provided_model
from tests.provider import Provider, status

pytestmark = pytest.mark.django_db(transaction=True)

EVALUATE = "/api/v1/programs/parity@latest/evaluate/"
EVALUATIONS = "/api/v1/evaluations/"
ITEMS = "/api/v1/evaluation-items/"


@pytest.fixture
def program(provider: Provider, erin: User) -> Program:
    provided_model(provider)
    tell(provider)
    return make_program(actor=erin, name="parity", status="draft")


@pytest.fixture
def engineer(erin: User) -> APIClient:
    return api_of(erin)


def body(erin: User, size: int = 10, **changes: Any) -> dict[str, Any]:
    metric = right_answer(erin)
    return {"dataset_id": str(numbers(erin, size).pk), "metrics": [metric.name], **changes}


def run(answer: Any) -> Evaluation:
    return run_evaluation_here(Evaluation.objects.get(pk=answer.json()["id"]))


def test_from_asking_to_the_score(program: Program, erin: User, engineer: APIClient) -> None:
    asked = body(erin, 10, budget={"cost_usd": "1.5", "calls": 20})
    answer = engineer.post(EVALUATE, asked, format="json")
    assert answer.status_code == 202, answer.json()
    told = answer.json()
    assert answer["Location"].endswith(f"{EVALUATIONS}{told['id']}/")
    assert (told["state"], told["size"], told["done"]) == ("pending", 10, 0)
    assert told["budget"] == {"cost_usd": "1.5", "calls": 20}
    assert told["estimate"]["calls"] == [10, 10]
    assert isinstance(told["estimate"]["cost_usd"][1], str)

    run(answer)

    ended = engineer.get(f"{EVALUATIONS}{told['id']}/?wait=5").json()
    assert (ended["state"], ended["finish_reason"], ended["done"], ended["error"]) == (
        "completed",
        "finished",
        10,
        None,
    )
    (score,) = ended["scores"]
    assert (score["mean"], score["n"], score["errors"], score["majority_baseline"]) == (0.9, 10, 0, 0.5)
    assert score["metric"]["name"] == asked["metrics"][0]
    (row,) = engineer.get(EVALUATIONS, {"program": "parity"}).json()["results"]
    assert row["id"] == told["id"]
    assert "estimate" not in row


def test_the_program_and_its_prompts_tell_their_latest_scores(
    program: Program, erin: User, engineer: APIClient
) -> None:
    run(engineer.post(EVALUATE, body(erin, 10), format="json"))
    latest = run(engineer.post(EVALUATE, body(erin, 20), format="json"))
    (score,) = latest.scores.all()
    told = engineer.get("/api/v1/programs/parity@latest/").json()["metrics"]
    noted = told[str(latest.dataset)][str(score.metric)]
    assert {name: noted[name] for name in ("mean", "low", "high", "n", "errors", "evaluation")} == {
        "mean": score.mean,
        "low": score.low,
        "high": score.high,
        "n": 20,
        "errors": 0,
        "evaluation": str(latest.pk),
    }
    (prompt,) = engineer.get("/api/v1/prompt-versions/", {"program": str(program.pk)}).json()["results"]
    prompt = engineer.get(f"/api/v1/prompt-versions/{prompt['id']}/").json()
    assert prompt["performance_metrics"] == told
    assert len(told) == 2


def test_a_key_starts_one_evaluation(program: Program, erin: User, engineer: APIClient) -> None:
    asked = body(erin)
    first, second = (
        engineer.post(EVALUATE, asked, format="json", headers={"Idempotency-Key": "one"}) for _ in range(2)
    )
    assert first.json()["id"] == second.json()["id"]
    assert Evaluation.objects.count() == 1
    other = engineer.post(EVALUATE, {**asked, "concurrency": 2}, format="json", headers={"Idempotency-Key": "one"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_an_estimate_starts_nothing(provider: Provider, program: Program, erin: User, engineer: APIClient) -> None:
    answer = engineer.post(f"{EVALUATE}estimate/", body(erin), format="json")
    assert (answer.status_code, answer.json()["calls"], answer.json()["basis"]) == (200, [10, 10], "limits")
    assert not Evaluation.objects.exists()
    assert not provider.requests


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"metrics": []}, "min_length", "metrics"),
        ({"metrics": ["nothing"]}, "metric_not_found", "metrics.0"),
        ({"metrics": "accuracy"}, "not_a_list", "metrics"),
        ({"dataset_id": "01890000-0000-7000-8000-000000000000"}, "dataset_not_found", "dataset_id"),
        ({"dataset_id": None}, "null", "dataset_id"),
        ({"concurrency": 1000}, "max_value", "concurrency"),
        ({"budget": {"cost_usd": 0.5}}, "decimal_invalid", "budget.cost_usd"),
        ({"budget": {"calls": 10**30}}, "max_value", "budget.calls"),
        ({"budget": {"calls": 2}}, "budget_too_small", "budget.calls"),
        ({"budget": {"cost_usd": "0.000000000001"}}, "budget_too_small", "budget.cost_usd"),
        ({"budget": {"money": 2}}, "unknown_field", "budget.money"),
        ({"language_model": "nothing/here"}, "language_model_not_found", "language_model"),
        ({"prompt_set": "01890000-0000-7000-8000-000000000000"}, "prompt_set_not_found", "prompt_set"),
        ({"speed": 3}, "unknown_field", "speed"),
    ],
)
def test_bad_bodies(
    changes: dict[str, Any], code: str, field: str, program: Program, erin: User, engineer: APIClient
) -> None:
    answer = engineer.post(EVALUATE, body(erin, **changes), format="json")
    assert answer.status_code == 400, answer.json()
    assert [(error["code"], error["field"]) for error in answer.json()["errors"]] == [(code, field)]
    assert not Evaluation.objects.exists()


def test_users_have_no_part_in_it(program: Program, erin: User, alice: User, engineer: APIClient) -> None:
    asked = body(erin)
    row = run(engineer.post(EVALUATE, asked, format="json"))
    user = api_of(alice)
    assert user.post(EVALUATE, asked, format="json").status_code == 404
    item = row.items.get(position=0)
    for address in (f"{EVALUATIONS}{row.pk}/", f"{EVALUATIONS}{row.pk}/events/", f"{ITEMS}{item.pk}/"):
        assert user.get(address).status_code == 404, address
    assert user.get(EVALUATIONS).json()["results"] == []
    assert user.get(ITEMS).json()["results"] == []
    make_program(name="deployed")
    refused = user.post("/api/v1/programs/deployed/evaluate/", asked, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) in {(403, ""), (400, "dataset_id")}
    assert Evaluation.objects.count() == 1


def test_items_are_found_by_error_and_by_score(
    provider: Provider, program: Program, erin: User, engineer: APIClient
) -> None:
    provider.script(status(400))
    row = run(engineer.post(EVALUATE, body(erin, 20, concurrency=1), format="json"))

    def found(**query: Any) -> list[int]:
        answer = engineer.get(ITEMS, {"evaluation": str(row.pk), **query})
        assert answer.status_code == 200, answer.json()
        return sorted(item["position"] for item in answer.json()["results"])

    assert found() == list(range(20))
    assert found(error="true") == found(error="invalid_request") == [0]
    assert found(error="false") == list(range(1, 20))
    assert found(max_score=0.5) == [3, 13]
    assert found(max_score=0.5, metric="nothing") == []
    assert found(max_score=1) == list(range(1, 20))
    (item,) = [one for one in row.items.all() if one.position == 3]
    light = engineer.get(ITEMS, {"evaluation": str(row.pk), "max_score": "0"}).json()["results"][0]
    assert "output" not in light
    assert "trace" not in light
    whole = engineer.get(f"{ITEMS}{item.pk}/").json()
    assert whole["example_data"] == {"question": "Is number 3 even?", "answer": "odd"}
    assert whole["output"] == {"answer": "even"}
    assert isinstance(whole["trace"]["spans"][1]["cost_usd"], str)
    assert engineer.get(ITEMS, {"max_score": "0"}).json()["code"] == "required"


def test_cancel_over_rest(program: Program, erin: User, engineer: APIClient) -> None:
    told = engineer.post(EVALUATE, body(erin), format="json").json()
    answer = engineer.post(f"{EVALUATIONS}{told['id']}/cancel/")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert engineer.post(f"{EVALUATIONS}{told['id']}/cancel/").json()["state"] == "cancelled"
    done = run(engineer.post(EVALUATE, body(erin), format="json"))
    refused = engineer.post(f"{EVALUATIONS}{done.pk}/cancel/")
    assert (refused.status_code, refused.json()["code"]) == (409, "evaluation_not_cancellable")


def test_compare_over_rest(program: Program, erin: User, engineer: APIClient) -> None:
    asked = body(erin)
    first, second = (run(engineer.post(EVALUATE, asked, format="json")) for _ in range(2))
    answer = engineer.get(f"{EVALUATIONS}{second.pk}/compare/", {"with": str(first.pk)})
    assert answer.status_code == 200, answer.json()
    told = answer.json()
    assert (told["difference"], told["wins"], told["losses"], told["ties"]) == (0.0, 0, 0, 10)
    assert (told["p_value"], told["is_better"], told["dropped"], told["regressions"]) == (1.0, False, 0, [])
    assert isinstance(told["baseline"]["cost_usd"]["mean"], str)
    other = run(engineer.post(EVALUATE, body(erin), format="json"))
    refused = engineer.get(f"{EVALUATIONS}{other.pk}/compare/", {"with": str(first.pk)})
    assert (refused.status_code, refused.json()["code"]) == (409, "evaluations_not_comparable")
    for query in ({}, {"with": "nonsense"}):
        missing = engineer.get(f"{EVALUATIONS}{other.pk}/compare/", query)
        assert (missing.status_code, missing.json()["code"]) == (400, "evaluation_not_found")


def test_the_document_tells_of_it() -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    for path, verb in (
        ("/api/v1/programs/{ref}/evaluate/", "post"),
        ("/api/v1/programs/{ref}/evaluate/estimate/", "post"),
        ("/api/v1/evaluations/", "get"),
        ("/api/v1/evaluations/{id}/", "get"),
        ("/api/v1/evaluations/{id}/events/", "get"),
        ("/api/v1/evaluations/{id}/compare/", "get"),
        ("/api/v1/evaluations/{id}/cancel/", "post"),
        ("/api/v1/evaluation-items/", "get"),
        ("/api/v1/evaluation-items/{id}/", "get"),
    ):
        assert verb in paths[path], path
