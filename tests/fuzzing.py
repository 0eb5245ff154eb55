"""Hooks of schemathesis: what it makes up meets rows that exist, and never the account that it asks with.

Its command line loads this module by `SCHEMATHESIS_HOOKS`; `FUZZED_ADDRESS` and `FUZZED_TOKEN` say where to look. Half
of what names a row in an address, a query or a body is replaced by what does, since made up names are 404 for ever.
"""

from __future__ import annotations

import os
import random
import time
from typing import Any

import httpx
import schemathesis

COLLECTIONS = {
    "base": "programs",
    "corpus": "corpora",
    "dataset": "datasets",
    "dataset_id": "datasets",
    "evaluation": "evaluations",
    "execution": "executions",
    "execution_id": "executions",
    "executions": "executions",
    "language_model": "language-models",
    "language_models": "language-models",
    "metric": "metrics",
    "model": "language-models",
    "module": "modules",
    "optimization": "optimizations",
    "program": "programs",
    "programs": "programs",
    "prompt_set": "prompt-sets",
    "prompt_version": "prompt-versions",
    "ref": "programs",
    "signature": "signatures",
    "trainset": "datasets",
    "user": "users",
    "valset": "datasets",
    "with": "evaluations",
}
"""Which collection has the rows that a parameter or a field names."""

NUMBERS = ("state", "older", "newer")
FRESH_S = 5
NOBODY = "0192d3a4-0000-7000-8000-000000000000"

chance = random.Random(0)
site = httpx.Client(
    base_url=os.environ["FUZZED_ADDRESS"], headers={"Authorization": f"Bearer {os.environ['FUZZED_TOKEN']}"}, timeout=30
)
_rows: dict[str, tuple[float, list[Any]]] = {}


def rows_of(address: str, name: str) -> list[Any]:
    """The `name`s of the first rows at `address`, as they were within the last few seconds."""
    looked_at, found = _rows.get(address, (0.0, []))
    if time.monotonic() - looked_at > FRESH_S:
        answer = site.get(address)
        found = [row[name] for row in answer.json()["results"]] if answer.status_code == 200 else []
        _rows[address] = time.monotonic(), found
    return found


own = {site.get("/api/v1/users/me/").json()["id"], *rows_of("/api/v1/tokens/", "id")}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    words = case.operation.path.removeprefix("/api/v1/").split("/")
    address = case.path_parameters or {}
    if "id" in address:
        address["id"] = _real(rows_of(f"/api/v1/{words[0]}/", "id"), address["id"])
        if address["id"] in own:
            address["id"] = NOBODY
    for given in (address, case.query, case.body):
        if isinstance(given, dict):
            _name_rows(given, history=f"/api/v1/{words[0]}/{address.get('id')}/history/")


def _name_rows(given: dict[str, Any], *, history: str) -> None:
    for name, value in given.items():
        if name in COLLECTIONS:
            found = _real(rows_of(f"/api/v1/{COLLECTIONS[name]}/", "id"), value)
            given[name] = [found] if isinstance(value, list) else found
        elif name in NUMBERS:
            given[name] = _real(rows_of(history, "state"), value)


def _real(rows: list[Any], made_up: Any) -> Any:
    return chance.choice(rows) if rows and chance.random() < 0.5 else made_up
