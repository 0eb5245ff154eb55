"""Optimizations over REST."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from django.test import AsyncClient
from drf_spectacular.generators import SchemaGenerator

from datasets.models import Dataset
from executions.models import Metric
from executions.services import process
from mlops.models import User
from optimizations.models import Optimization
from optimizations.services.working import work_optimizations
from programs.models import Program
from tests.conftest import api_of
from tests.factories import make_token
from tests.optimizations import compiling
from tests.optimizations.compiling import make_dataset, make_metric, make_program
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)


class Wanted:
    """A compile that could be asked for."""

    def __init__(self, actor: User) -> None:
        self.program: Program = make_program(actor, name="triage")
        self.training: Dataset = make_dataset(actor, 12)
        self.validation: Dataset = make_dataset(actor, 6, type="validation", offset=100)
        self.metric: Metric = make_metric(actor, name="right")

    def body(self, **changes: Any) -> dict[str, Any]:
        given = {
            "dataset_id": str(self.training.pk),
            "validation_set_id": str(self.validation.pk),
            "metric": "right",
            "optimizer": {"name": "labeled_few_shot", "params": {"k": 6}},
        }
        return {name: value for name, value in {**given, **changes}.items() if value is not None}


@pytest.fixture
def wanted(erin: User) -> Wanted:
    compiling.matcher()
    return Wanted(erin)


def test_a_compile_from_request_to_result(erin: User, wanted: Wanted) -> None:
    api = api_of(erin)
    started = api.post("/api/v1/programs/triage@latest/compile/", wanted.body(), format="json")
    assert started.status_code == 202, started.json()
    row = started.json()
    assert (row["state"], row["finish_reason"], row["result_program"], row["is_better"]) == (
        "pending",
        None,
        None,
        None,
    )
    assert started.headers["Location"].endswith(f"/api/v1/optimizations/{row['id']}/")
    assert row["estimate"]["calls"] == [12, 12]
    assert row["estimate"]["cost_usd"] == ["0", "0"]

    work_optimizations()
    ended = api.get(f"/api/v1/optimizations/{row['id']}/", {"wait": 1}).json()
    assert (ended["state"], ended["finish_reason"], ended["error"]) == ("completed", "finished", None)
    assert ended["comparison"]["n"] == 6
    assert ended["comparison"]["baseline"]["cost_usd"] == "0"
    made = Program.objects.get(pk=ended["result_program"])
    assert (str(made), made.status, str(made.compiled_from.pk)) == ("triage@2", "draft", row["id"])

    candidates = api.get("/api/v1/candidates/", {"optimization": row["id"]}).json()["results"]
    assert [(item["number"], item["is_best"]) for item in candidates] == [(0, True)]
    assert "state" not in candidates[0]
    shown = api.get(f"/api/v1/candidates/{candidates[0]['id']}/").json()
    assert len(shown["state"]["classify"]["demos"]) == 6
    adopted = api.post(f"/api/v1/candidates/{candidates[0]['id']}/adopt/", {}, format="json")
    assert adopted.status_code == 201
    assert (adopted.json()["name"], adopted.json()["version"], adopted.json()["status"]) == ("triage", 3, "draft")

    listed = api.get("/api/v1/optimizations/", {"program": "triage"}).json()["results"]
    assert [item["id"] for item in listed] == [row["id"]]
    assert "comparison" not in listed[0]
    cancelled = api.post(f"/api/v1/optimizations/{row['id']}/cancel/", {}, format="json")
    assert (cancelled.status_code, cancelled.json()["code"]) == (409, "optimization_not_cancellable")


def test_an_estimate_starts_nothing(erin: User, wanted: Wanted) -> None:
    answer = api_of(erin).post("/api/v1/programs/triage@latest/compile/estimate/", wanted.body(), format="json")
    assert answer.status_code == 200, answer.json()
    assert answer.json()["judging_calls"] == [12, 12]
    assert answer.json()["warnings"] == []
    assert not Optimization.objects.exists()


def test_a_key_makes_a_request_happen_once(erin: User, wanted: Wanted) -> None:
    api = api_of(erin)
    first, again = (
        api.post("/api/v1/programs/triage@latest/compile/", wanted.body(), format="json", HTTP_IDEMPOTENCY_KEY="monday")
        for _ in range(2)
    )
    other = api.post(
        "/api/v1/programs/triage@latest/compile/", wanted.body(seed=7), format="json", HTTP_IDEMPOTENCY_KEY="monday"
    )
    assert (first.status_code, again.status_code, first.json()["id"]) == (202, 202, again.json()["id"])
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert Optimization.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"optimizer": {"name": "knn_few_shot"}}, 400, "optimizer_not_offered", "optimizer"),
        ({"optimizer": {"name": "magic"}}, 400, "optimizer_unknown", "optimizer"),
        (
            {"optimizer": {"name": "labeled_few_shot", "params": {"k": "many"}}},
            400,
            "optimizer_params_invalid",
            "optimizer.params.k",
        ),
        (
            {"optimizer": {"name": "labeled_few_shot", "params": {"k": 0}}},
            400,
            "optimizer_params_invalid",
            "optimizer.params.k",
        ),
        (
            {"optimizer": {"name": "labeled_few_shot", "params": {"j": 1}}},
            400,
            "optimizer_params_invalid",
            "optimizer.params.j",
        ),
        ({"optimizer": {"name": "labeled_few_shot", "params": []}}, 400, "not_a_dict", "optimizer.params"),
        ({"budget": {"calls": 1}}, 400, "budget_too_small", "budget.calls"),
        ({"budget": {"calls": 0}}, 400, "budget_too_small", "budget.calls"),
        ({"budget": {"cost_usd": 1.5}}, 400, "decimal_invalid", "budget.cost_usd"),
        ({"budget": {"calls": -1}}, 400, "min_value", "budget.calls"),
        ({"budget": {"dollars": 1}}, 400, "unknown_field", "budget.dollars"),
        ({"metric": "nothing"}, 400, "metric_not_found", "metric"),
        ({"dataset_id": "00000000-0000-7000-8000-000000000000"}, 400, "dataset_not_found", "dataset_id"),
        ({"dataset_id": None}, 400, "required", "dataset_id"),
        ({"seed": -1}, 400, "min_value", "seed"),
        ({"seed": 2**40}, 400, "seed_invalid", "seed"),
        ({"prompt_model": "nobody/nothing"}, 400, "language_model_not_found", "prompt_model"),
        ({"more": 1}, 400, "unknown_field", "more"),
    ],
)
def test_what_is_wrong_is_said(
    erin: User, wanted: Wanted, changes: dict[str, Any], status: int, code: str, field: str
) -> None:
    body = {name: value for name, value in {**wanted.body(), **changes}.items() if value is not None}
    answer = api_of(erin).post("/api/v1/programs/triage@latest/compile/", body, format="json")
    assert (answer.status_code, answer.json()["code"], answer.json()["errors"][0]["field"]) == (status, code, field)
    assert not Optimization.objects.exists()


def test_optimizers_are_listed_with_their_parameters(erin: User, alice: User) -> None:
    found = api_of(erin).get("/api/v1/optimizers/").json()
    names = {item["name"]: item["parameters"] for item in found["optimizers"]}
    assert set(names) == {
        "labeled_few_shot", "bootstrap_few_shot", "bootstrap_few_shot_with_random_search", "copro", "mipro_v2", "simba",
        "gepa",
    }  # fmt: skip
    assert names["labeled_few_shot"]["properties"]["k"]["maximum"] == 2000
    assert "lost" in next(item["reason"] for item in found["not_offered"] if item["name"] == "knn_few_shot")
    assert api_of(alice).get("/api/v1/optimizers/").status_code == 403


def test_nothing_of_it_is_for_ml_users(erin: User, alice: User, wanted: Wanted) -> None:
    row = api_of(erin).post("/api/v1/programs/triage@latest/compile/", wanted.body(), format="json").json()
    api = api_of(alice)
    assert api.get(f"/api/v1/optimizations/{row['id']}/").status_code == 404
    assert api.get("/api/v1/optimizations/").json()["results"] == []
    assert api.get("/api/v1/candidates/").json()["results"] == []
    assert api.post(f"/api/v1/optimizations/{row['id']}/cancel/", {}, format="json").status_code == 404
    refused = api.post("/api/v1/programs/triage@latest/compile/", wanted.body(), format="json")
    assert refused.status_code == 404
    assert Optimization.objects.get().state == "pending"


def test_the_document_knows_every_address() -> None:
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    for path, method in [
        ("/api/v1/programs/{ref}/compile/", "post"),
        ("/api/v1/programs/{ref}/compile/estimate/", "post"),
        ("/api/v1/optimizations/", "get"),
        ("/api/v1/optimizations/{id}/", "get"),
        ("/api/v1/optimizations/{id}/events/", "get"),
        ("/api/v1/optimizations/{id}/cancel/", "post"),
        ("/api/v1/candidates/{id}/adopt/", "post"),
        ("/api/v1/optimizers/", "get"),
    ]:
        assert method in paths[path], path


@pytest.mark.parametrize("name", ["dataset_id", "validation_set_id"])
def test_a_sealed_set_is_refused_in_the_words_of_the_body(erin: User, wanted: Wanted, name: str) -> None:
    sealed = make_dataset(erin, 12, type="test", offset=200)
    body = {**wanted.body(), name: str(sealed.pk)}
    answer = api_of(erin).post("/api/v1/programs/triage@latest/compile/", body, format="json")
    told = answer.json()
    assert (answer.status_code, told["code"], told["errors"][0]["field"]) == (409, "dataset_sealed", name)
    assert not Optimization.objects.exists()


class Watched:
    """A reader of an optimization's events, on the loop of this process, who looks at the row with each of them."""

    def __init__(self, actor: User, key: str) -> None:
        self._headers = {"Authorization": f"Bearer {make_token(actor)[1]}"}
        self._address = f"/api/v1/optimizations/{key}/"
        self.events: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.listens, self.has_seen_two = threading.Event(), threading.Event()

    async def row(self, **parameters: int) -> dict[str, Any]:
        answer: Any = await AsyncClient().get(self._address, parameters, headers=self._headers)
        found: dict[str, Any] = json.loads(answer.content)
        return found

    async def follow(self) -> None:
        """Returns when the stream ends."""
        stream: Any = await AsyncClient().get(f"{self._address}events/", headers=self._headers)
        async for chunk in stream.streaming_content:
            told = [line[6:] for line in chunk.decode().splitlines() if line.startswith("data: ")]
            for data in told:
                self.events.append(json.loads(data))
                self.rows.append(await self.row())
                self.listens.set()
                if self.rows[-1]["progress"].get("candidates") == 2:
                    self.has_seen_two.set()


def test_events_tell_candidates_best_and_cost_while_it_runs_and_a_wait_lasts_until_the_end(
    erin: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops.services.jobs.holding.REPORT_S", 0.0)
    compiling.provided(provider.base_url, timeout_s=60, deadline_s=120)
    wanted = Wanted(erin)
    knows, may_end = compiling.knowing(), threading.Event()

    def answer(body: Mapping[str, Any]) -> str:
        """The third candidate's first score has to wait: by then the reader has to have seen two."""
        if len(provider.requests) == 3 * 6 + 1:
            assert may_end.wait(60)
        return knows(body)

    provider.answer(answer)
    params = {"num_candidate_programs": 1, "max_bootstrapped_demos": 1, "max_labeled_demos": 2}
    body = wanted.body(optimizer={"name": "bootstrap_few_shot_with_random_search", "params": params})
    started = api_of(erin).post("/api/v1/programs/triage@latest/compile/", body, format="json").json()

    here, reader = process.ensure_started(), Watched(erin, started["id"])
    following = here.submit(reader.follow())
    assert reader.listens.wait(60)
    with compiling.working():
        try:
            assert reader.has_seen_two.wait(60)
            by_then = here.submit(reader.row(wait=1)).result(60)
            waiting = here.submit(reader.row(wait=60))
            assert by_then["state"] == "running"
            assert not waiting.done()
        finally:
            may_end.set()
        ended = waiting.result(60)
        following.result(60)

    assert (ended["state"], ended["finish_reason"]) == ("completed", "finished")
    assert [event["state"] for event in reader.events][:: len(reader.events) - 1] == ["pending", "completed"]
    assert reader.events[-1]["revision"] == ended["revision"]
    revisions = [event["revision"] for event in reader.events]
    assert revisions == sorted(set(revisions))
    told = [row["progress"] for row in reader.rows if row["progress"].get("phase") == "compiling"]
    second = next(one for one in told if one["candidates"] == 2)
    assert (second["candidates_total"], second["best_score"]) == (4, 1.0)
    costs = [Decimal(one["cost_usd"]) for one in told]
    assert 0 < Decimal(second["cost_usd"]) < Decimal(ended["cost_usd"])
    assert costs == sorted(costs)
