"""Reports of usage over 10,000 and over 1,000,000 executions, and how fast executions are counted.

Prints one JSON line: per size how counting went, and milliseconds of every report by round. `python -m
benchmarks.usage` fills a PostgreSQL database for each size, over the same days, programs, people and models, and drops
them. The sizes take turns within a round.
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
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from benchmarks.fill_executions import fill_executions
from benchmarks.processes import database

SIZES = (10_000, 1_000_000)
DAYS = 30
CALLS = 5
"""Calls of one report in a round, of which the median is kept."""


def main() -> int:
    parser = argparse.ArgumentParser(description="reports of usage over two numbers of executions")
    parser.add_argument("--sizes", type=int, nargs=2, default=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", default="postgres://postgres@127.0.0.1:5432")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signet-usage-") as folder, ExitStack() as stack:
        names = [f"signet_bench_{os.getpid()}_usage_{size}" for size in options.sizes]
        urls = [stack.enter_context(database(options.postgres, name)) for name in names]
        os.environ |= {"SIGNET_DATA_DIR": folder, "DATABASE_URL": urls[0], "SIGNET_LOG_LEVEL": "WARNING",
                       "DJANGO_SETTINGS_MODULE": "config.settings"}  # fmt: skip
        found = measured(options.sizes, urls, options.rounds)
    print(json.dumps(found))
    return 0


def measured(sizes: list[int], urls: list[str], rounds: int) -> dict[str, Any]:
    """Figures by size. Django is loaded here, since it reads the environment when it is imported."""
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    found: dict[str, Any] = {}
    for size, url in zip(sizes, urls, strict=True):
        _use(url)
        call_command("migrate", verbosity=0)
        fill_executions(size, days=DAYS)
        found[str(size)] = {**_counted(size), "rounds": []}
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")
    for _round in range(rounds):
        for size, url in zip(sizes, urls, strict=True):
            _use(url)
            found[str(size)]["rounds"].append({name: _median_ms(call) for name, call in _reports().items()})
    connection.close()
    return found


def _use(url: str) -> None:
    """Have this process ask another database from now on."""
    from django.db import connection  # noqa: PLC0415

    connection.close()
    connection.settings_dict["NAME"] = urlsplit(url).path.lstrip("/")


def _counted(size: int) -> dict[str, float]:
    """How many executions a second are counted, and the CPU time of one: of this process and of its database's."""
    from django.db import connection  # noqa: PLC0415

    from executions.services.usage import count_usage  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = int(cursor.fetchone()[0])
    cpu, began = _cpu_s(backend), time.perf_counter()
    counted = count_usage(limit_s=3600)
    seconds = time.perf_counter() - began
    if counted != size:
        raise SystemExit(f"{counted} of {size} were counted")
    return {"counted_per_second": counted / seconds, "cpu_ms": 1e3 * (_cpu_s(backend) - cpu) / counted}


def _cpu_s(backend: int) -> float:
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415

    times = psutil.Process(backend).cpu_times()
    return time.process_time() + float(times.user + times.system)


def _reports() -> dict[str, Callable[[], object]]:
    from executions.selectors.usage import UsageQuery, month_before, monthly_costs, tomorrow, usage_report  # noqa: PLC0415
    from executions.types import GroupBy  # noqa: PLC0415
    from mlops.services.history import operator  # noqa: PLC0415
    from programs.models import Program  # noqa: PLC0415

    until = tomorrow()
    programs = list(Program.objects.values_list("pk", flat=True))

    def report(group_by: GroupBy, *, with_latency: bool) -> Callable[[], object]:
        query = UsageQuery(group_by, month_before(until), until, with_latency=with_latency)
        return lambda: usage_report(actor=operator(), query=query, size=100)

    costs = {f"{group_by.value}_ms": report(group_by, with_latency=False) for group_by in GroupBy}
    percentiles = {"percentiles_ms": report(GroupBy.DAY, with_latency=True)}
    return {**costs, **percentiles, "monthly_cost_ms": lambda: monthly_costs(programs)}


def _median_ms(call: Callable[[], object]) -> float:
    call()  # what is read and planned once is no part of it
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
