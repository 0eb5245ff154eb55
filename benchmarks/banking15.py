"""From three files to a better program in production, over REST alone: what `improve` shows on banking15.

The files are those of the folder banking15 of the public data beside the checkout: messages of customers with one of 15
intents (CC BY 4.0).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "banking15"
FILES = {"training": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"}
NAME = "banking15"
WAIT_S = 60


@dataclass(frozen=True)
class Improvement:
    """Shares of right answers on the test set, the difference with its 95 % interval, and how long all of it took."""

    before: float
    after: float
    majority_baseline: float
    low: float
    high: float
    p_value: float
    deployed: str
    seconds: float

    @property
    def figures(self) -> dict[str, float]:
        shares = {"before": self.before, "after": self.after, "majority": self.majority_baseline}
        return {**shares, "low": self.low, "high": self.high, "p_value": self.p_value, "seconds": self.seconds}


def improve(client: httpx.Client, data: Path = DATA) -> Improvement:
    """Upload, evaluate, compile, evaluate, compare, deploy. `client` speaks to an installation as an engineer."""
    began = time.perf_counter()
    datasets = {kind: _imported(client, kind, data / file) for kind, file in FILES.items()}
    metric = _made(client, "metrics", {"name": NAME, "kind": "exact_match", "config": {"field": "intent"}})
    program = _program(client, _labels(data / FILES["training"]))
    baseline = _evaluated(client, program["id"], datasets["test"], metric["id"])
    optimization = _done(
        client,
        f"programs/{program['id']}/compile/",
        {
            "dataset_id": datasets["training"],
            "validation_set_id": datasets["validation"],
            "metric": metric["id"],
            "optimizer": {"name": "labeled_few_shot", "params": {"k": 64}},
        },
    )
    result = optimization["result_program"]
    candidate = _evaluated(client, result, datasets["test"], metric["id"])
    compared = _answer(
        client.get(f"/api/v1/evaluations/{candidate['id']}/compare/", params={"with": baseline["id"], "metric": NAME})
    )
    _answer(client.post(f"/api/v1/programs/{result}/submit/", json={}))
    deployed = _answer(client.post(f"/api/v1/programs/{result}/deploy/", json={"reason": "better on the test set"}))
    return Improvement(
        before=baseline["scores"][0]["mean"],
        after=candidate["scores"][0]["mean"],
        majority_baseline=baseline["scores"][0]["majority_baseline"],
        low=compared["low"],
        high=compared["high"],
        p_value=compared["p_value"],
        deployed=f"{deployed['name']}@{deployed['version']}",
        seconds=time.perf_counter() - began,
    )


def _labels(file: Path) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return sorted({json.loads(line)["intent"] for line in lines})


def _program(client: httpx.Client, labels: list[str]) -> dict[str, Any]:
    fields = [
        {"name": "text", "description": "What the customer wrote."},
        {"name": "intent", "is_input": False, "type": "enum", "choices": labels},
    ]
    signature = _made(
        client, "signatures", {"name": NAME, "instructions": "Say what the customer wants.", "fields": fields}
    )
    module = {"key": "classify", "kind": "predict", "signature": signature["id"]}
    program = _made(client, "programs", {"name": NAME, "modules": [module]})
    _answer(client.post(f"/api/v1/programs/{program['id']}/submit/", json={}))
    return program


def _imported(client: httpx.Client, kind: str, file: Path) -> str:
    with file.open("rb") as content:
        started = client.post(
            "/api/v1/datasets/import/", data={"name": NAME, "type": kind}, files={"file": (file.name, content)}
        )
    ended = _ended(client, started)
    return str(ended["dataset"])


def _evaluated(client: httpx.Client, program: str, dataset: str, metric: str) -> dict[str, Any]:
    return _done(client, f"programs/{program}/evaluate/", {"dataset_id": dataset, "metrics": [metric]})


def _made(client: httpx.Client, collection: str, body: dict[str, Any]) -> dict[str, Any]:
    return _answer(client.post(f"/api/v1/{collection}/", json=body))


def _done(client: httpx.Client, address: str, body: dict[str, Any]) -> dict[str, Any]:
    return _ended(client, client.post(f"/api/v1/{address}", json=body))


def _ended(client: httpx.Client, started: httpx.Response) -> dict[str, Any]:
    """The row of a job once it has completed."""
    row = _answer(started)
    address = started.headers["Location"]
    give_up = time.monotonic() + 5 * WAIT_S
    while row["state"] in ("pending", "running"):
        if time.monotonic() > give_up:
            raise RuntimeError(f"{address} has not ended: {row}")
        row = _answer(client.get(address, params={"wait": WAIT_S}, timeout=2 * WAIT_S))
    if row["state"] != "completed":
        raise RuntimeError(f"{address} is {row['state']}: {row}")
    return row


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise RuntimeError(f"{response.request.method} {response.request.url}: {response.status_code} {response.text}")
    answer: dict[str, Any] = response.json()
    return answer
