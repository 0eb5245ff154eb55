"""What an execution came from, and who used what, among 10,000 and among 1,000,000 executions.

    DATABASE_URL=postgres://postgres@127.0.0.1/empty python -m benchmarks.lineage

Prints one JSON line with the median milliseconds of each request by number of executions, and what the database takes
of it; the plain list of the newest is asked for too. The database must be empty; without one named it is SQLite, in a
data folder of its own. The last of the backward searches is the worst one for a list of the newest: what it looks for
was used by the oldest executions alone, in two prompt sets.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.test import Client

SIZES = (10_000, 1_000_000)
ROUNDS = 15
OLD = 400
"""How many of the oldest executions used what no other did."""


def main() -> int:
    parser = argparse.ArgumentParser(description="lineage at two sizes")
    parser.add_argument("--executions", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signet-lineage-") as folder:
        os.environ |= {"SIGNET_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}
        print(json.dumps(measured(options.executions)))
    return 0


def measured(sizes: list[int]) -> dict[str, dict[str, float]]:
    """Figures by number of executions. Django is loaded here, since it reads the environment when it is imported."""
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    from benchmarks.fill_executions import fill_executions  # noqa: PLC0415
    from mlops.models import User  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    actor = User.objects.create_user("bench", role="ml_engineer")
    client = Client(headers={"Host": "localhost"})
    client.force_login(actor)
    figures, filled = {}, 0
    for size in sizes:
        fill_executions(size - filled)
        filled = size
        asked = {name: _median_ms(client, address) for name, address in _addresses(actor).items()}
        figures[str(size)] = {f"{name}_{part}": value for name, parts in asked.items() for part, value in parts.items()}
    return figures


def _addresses(actor: Any) -> dict[str, str]:
    """What is asked for, by the name of its figure."""
    from datasets.services import create_dataset  # noqa: PLC0415
    from executions.models import Execution  # noqa: PLC0415
    from programs.models import Demo, PromptVersion  # noqa: PLC0415

    dataset = create_dataset(
        actor=actor, name="used", type="training", examples=[{"question": f"{number}?"} for number in range(20)]
    )
    examples = list(dataset.examples.order_by("position"))
    Demo.objects.all().delete()
    versions = list(PromptVersion.objects.order_by("id"))
    old, common = versions[:2], versions[2:]
    Demo.objects.bulk_create(
        Demo(prompt_version=version, position=position, digest=str(position), example=example)
        for version in common
        for position, example in enumerate(examples[:10])
    )
    Demo.objects.bulk_create(
        Demo(prompt_version=version, position=0, digest="old", example=examples[-1]) for version in old
    )
    oldest = list(Execution.objects.order_by("id").values_list("pk", flat=True)[:OLD])
    _use_only(old, oldest)
    newest = Execution.objects.latest("id").pk
    list_of = "/api/v1/executions/?page_size=50&"
    return {
        "list": "/api/v1/executions/?page_size=50",
        "lineage": f"/api/v1/executions/{newest}/lineage/",
        "by_prompt_version": f"{list_of}prompt_version={common[-1].pk}",
        "by_demo": f"{list_of}demo=3",
        "by_example": f"{list_of}example={examples[0].pk}",
        "by_dataset": f"{list_of}dataset={dataset.pk}",
        "by_old_example": f"{list_of}example={examples[-1].pk}",
    }


def _use_only(versions: list[Any], executions: list[Any]) -> None:
    """Two prompt sets of `versions` that `executions` used, and nobody else."""
    from executions.models import Execution  # noqa: PLC0415
    from programs.models import PromptSet  # noqa: PLC0415

    half = len(executions) // 2
    for version, used in zip(versions, (executions[:half], executions[half:]), strict=True):
        version.prompt_sets.clear()
        program = version.module.program
        prompt_set, _ = PromptSet.objects.get_or_create(program=program, digest=f"old {version.pk}")
        prompt_set.versions.set([version])
        Execution.objects.filter(prompt_set=prompt_set).exclude(pk__in=used).update(
            prompt_set=program.prompt_sets.last()
        )
        Execution.objects.filter(pk__in=used).update(prompt_set=prompt_set)


def _median_ms(client: Client, address: str) -> dict[str, float]:
    from django.db import connection  # noqa: PLC0415

    taken: dict[str, list[float]] = {"ms": [], "sql_ms": []}
    in_database = 0.0

    def timed(execute: Any, *asked: Any) -> Any:
        nonlocal in_database
        began = time.perf_counter()
        try:
            return execute(*asked)
        finally:
            in_database += (time.perf_counter() - began) * 1000

    for _ in range(ROUNDS):
        in_database, began = 0.0, time.perf_counter()
        with connection.execute_wrapper(timed):
            answer = client.get(address)
        taken["ms"].append((time.perf_counter() - began) * 1000)
        taken["sql_ms"].append(in_database)
        if answer.status_code != 200 or not (answer.json().get("results") or answer.json().get("prompts")):
            raise RuntimeError(f"{address}: {answer.status_code} {answer.content[:200]!r}")
    return {part: round(statistics.median(values), 2) for part, values in taken.items()}


if __name__ == "__main__":
    raise SystemExit(main())
