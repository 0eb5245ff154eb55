"""A nested list over GraphQL beside the flat one over REST: 50 programs with their modules and latest executions.

Prints one JSON line with milliseconds per answer: `python -m benchmarks.graphql`. `graphql_ms` is all of it in one
document. REST has no nested list: `rest_ms` is `GET /programs/` alone; `rest_rows_ms` as many rows of each kind as the
document gives, in the fewest requests (which executions are a program's latest they do not tell); `rest_all_ms` the
very same rows, with one request each for the modules and the latest executions of every program. `queries` is how often
the document asks the database, of 50 programs and of 10.

It runs in a data folder of its own, on SQLite unless DATABASE_URL names another database, which must be empty.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

PROGRAMS = 50
EXECUTIONS = 200
"""Of each program."""

MODULES = 3
LATEST = 5
ROUNDS = 15
NESTED = f"""query Nested($first: Int) {{ listPrograms(first: $first) {{ edges {{ node {{
    id name version description status trafficPercentage creditsPerExecution monthlyCostUsd group createdAt updatedAt
    modules(first: 10) {{ edges {{ node {{ id key kind position }} }} }}
    executions(first: {LATEST}) {{ edges {{ node {{ id state costUsd durationMs createdAt }} }} }} }} }} }} }}"""


def main() -> int:
    parser = argparse.ArgumentParser(description="a nested list over GraphQL")
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signet-graphql-") as folder:
        os.environ |= {"SIGNET_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}
        found = measured(options.executions)
    print(json.dumps(found))
    return 0


def measured(executions: int) -> dict[str, float]:
    """The figures. Django is loaded here, since it reads the environment when it is imported."""
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from executions.services.process import settle_heap  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    api, programs = _rows(executions)
    settle_heap()  # as the web process does when it starts

    def rest() -> None:
        assert len(api.get("/api/v1/programs/?page_size=50").json()["results"]) == PROGRAMS

    def rest_rows() -> None:
        rest()
        modules = api.get(f"/api/v1/modules/?page_size={len(programs) * MODULES}").json()["results"]
        found = api.get("/api/v1/executions/?page_size=200").json()
        further = api.get(f"{found['next']}&page_size={len(programs) * LATEST - 200}").json()["results"]
        assert len(modules) == PROGRAMS * MODULES
        assert len(found["results"]) + len(further) == PROGRAMS * LATEST

    def rest_all() -> None:
        rest()
        for program in programs:
            assert api.get(f"/api/v1/modules/?program={program.pk}").status_code == 200
            assert api.get(f"/api/v1/executions/?program={program.pk}&page_size={LATEST}").status_code == 200

    def graphql(first: int = PROGRAMS) -> None:
        body = {"query": NESTED, "variables": {"first": first}}
        found = api.post("/graphql/", body, format="json").json()["data"]["listPrograms"]["edges"]
        assert all(len(edge["node"]["executions"]["edges"]) == LATEST for edge in found)

    asked = {"rest_ms": rest, "rest_rows_ms": rest_rows, "graphql_ms": graphql, "rest_all_ms": rest_all}
    times: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(ROUNDS):
        for name, ask in asked.items():
            times[name].append(_ms(ask))
    figures = {name: statistics.median(values) for name, values in times.items()}
    return {**figures, "queries": _queries(graphql), "queries_of_ten": _queries(lambda: graphql(10))}


def _rows(executions: int) -> tuple[Any, list[Any]]:
    from rest_framework.test import APIClient  # noqa: PLC0415

    from executions.models import Execution  # noqa: PLC0415
    from mlops.models import User  # noqa: PLC0415
    from mlops.services.tokens import create_token  # noqa: PLC0415
    from programs.services import ModuleInput, choose_prompt_set, create_program, create_signature  # noqa: PLC0415

    actor = User.objects.create_user("bench", role="ml_engineer")
    signature = create_signature(actor=actor, name="sorting", shorthand="message: str -> intent: str")
    modules = [ModuleInput(key=key, signature=signature) for key in ("first", "second", "third")]
    programs = [create_program(actor=actor, name=f"program{n}", modules=modules) for n in range(PROGRAMS)]
    for program in programs:
        prompts = choose_prompt_set(program)
        row = {"user": actor, "program": program, "prompt_set": prompts, "mode": "async", "source": "rest", "cost": 1}
        Execution.objects.bulk_create(Execution(**row) for _ in range(executions))
    api = APIClient(headers={"Host": "localhost"})
    token = create_token(actor=actor, user=actor, name="bench")[1]
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return api, programs


def _ms(ask: Callable[[], None]) -> float:
    began = time.perf_counter()
    ask()
    return 1e3 * (time.perf_counter() - began)


def _queries(ask: Callable[[], None]) -> int:
    from django.db import connection  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    ask()
    with CaptureQueriesContext(connection) as captured:
        ask()
    return len(captured)


if __name__ == "__main__":
    sys.exit(main())
