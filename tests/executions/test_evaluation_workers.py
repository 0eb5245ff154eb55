"""Several workers on one evaluation, and workers that are killed: processes of their own over PostgreSQL."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executions.evaluating import asked, tell
from tests.installation import Installation, eventually, production
from tests.provider import Provider

SIZE = 400

SEED = """
import json
from datasets.services import create_dataset
from executions.services import create_metric
from mlops.services.history import operator
from mlops.services.language_models import create_language_model, set_default
from mlops.services.users import create_user
from programs.services import ModuleInput, create_program, create_signature
actor = operator()
owner = create_user(actor=actor, username="owner", role="ml_engineer")
model = create_language_model(actor=actor, name="openai/stub", api_base="{url}", max_retries=0)
set_default(actor=actor, model=model)
signature = create_signature(actor=actor, name="parity", shorthand="question: str -> answer: str")
create_program(actor=actor, name="parity", modules=[ModuleInput("main", "predict", signature)])
create_metric(actor=actor, name="right", kind="exact_match", config={{"field": "answer"}})
examples = [
    {{"question": f"Is number {{n}} even?", "answer": "odd" if n % 2 else "even"}} for n in range({size})
]
create_dataset(actor=owner, name="numbers", type="test", examples=examples)
"""

ASK = """
from datasets.models import Dataset
from executions.models import Metric
from executions.services import evaluate_program
from mlops.models import User
from programs.models import Program
metric = Metric.objects.get()
given = dict(program=Program.objects.get(name="parity"), dataset=Dataset.objects.get(), metrics=[metric])
for _ in range({times}):
    print(evaluate_program(actor=User.objects.get(username="owner"), **given, concurrency=8).pk)
"""

COLUMNS = "mean, low, high, n, errors, majority_baseline"
ITEMS = """
SELECT position, output::text, scores::text, feedback::text, error_code, calls
FROM executions_evaluationitem WHERE evaluation_id = '{}' ORDER BY position
"""
SCORES = f"SELECT {COLUMNS} FROM executions_evaluationscore WHERE evaluation_id = '{{}}'"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    with production(tmp_path, SIGNET_LEASE_SECONDS="2") as installation:
        yield installation


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        tell(running)
        yield running


def seed(here: Installation, provider: Provider) -> None:
    here.python(SEED.format(url=provider.base_url, size=SIZE))


def evaluations(here: Installation, times: int) -> list[str]:
    """Pending evaluations of the same program on the same examples."""
    return here.python(ASK.format(times=times)).split()


def evaluation(here: Installation, key: str) -> dict[str, Any]:
    sql = f"SELECT row_to_json(e) FROM executions_evaluation AS e WHERE id = '{key}'"
    (found,) = here.rows(sql)[0]
    return dict(found if isinstance(found, dict) else json.loads(found))


def ring(here: Installation) -> None:
    here.python("from executions.services.evaluations import sweep_evaluations; sweep_evaluations()")


def test_two_workers_give_what_one_gives_and_a_killed_one_costs_only_what_was_in_flight(
    here: Installation, provider: Provider
) -> None:
    provider.latency_s = 0.05
    seed(here, provider)
    (whole,) = evaluations(here, 1)
    alone = here.start_worker("alone")
    eventually(lambda: evaluation(here, whole)["state"] == "completed", within_s=60)
    alone.kill()
    alone.wait()
    assert len(provider.requests) == SIZE

    first, second = evaluations(here, 2)
    killed = here.start_worker("killed")
    eventually(lambda: evaluation(here, first)["done"] >= 40, within_s=60)
    killed.kill()
    killed.wait()
    in_flight = 16  # eight of each evaluation

    stored = sum(evaluation(here, key)["done"] for key in (first, second))
    before = len(provider.requests)
    paid = before - SIZE
    # What was answered and not yet stored is lost with what was in flight: one portion of each evaluation.
    assert paid - stored <= in_flight + 2 * 128
    here.start_worker("one")
    here.start_worker("two")

    def is_over() -> bool:
        ring(here)
        return all(evaluation(here, key)["state"] == "completed" for key in (first, second))

    eventually(is_over, within_s=60)
    rows = [evaluation(here, key) for key in (first, second)]
    assert [(row["done"], row["errors"], row["finish_reason"]) for row in rows] == [(SIZE, 0, "finished")] * 2
    for sql in (SCORES, ITEMS):
        assert here.rows(sql.format(first)) == here.rows(sql.format(second)) == here.rows(sql.format(whole)), sql
    assert here.rows(SCORES.format(first))[0][0] == 0.9
    # After the kill exactly what had no item was asked for: nothing that was stored is paid again.
    assert len(provider.requests) - before == 2 * SIZE - stored
    assert set(Counter(asked(provider)).keys()) == set(range(SIZE))
    shards = here.rows(f"SELECT DISTINCT attempt FROM executions_evaluationshard WHERE evaluation_id <> '{whole}'")
    assert sorted(shards) == [(1,), (2,)]
    assert here.rows("SELECT count(*) FROM executions_evaluationitem") == [(3 * SIZE,)]
