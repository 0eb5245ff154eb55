"""A file of 100,000 rows: what its import takes in memory and time, and how pages of it answer beside those of 1,000.

Prints one JSON line with figures by number of rows: `python -m benchmarks.imports`. It runs in a data folder of its
own, on SQLite unless DATABASE_URL names another database, which must be empty.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

SIZES = (1_000, 100_000)
ROUNDS = 15
PAGES = {
    "list_ms": "/api/v1/examples/?dataset={}",
    "admin_ms": "/admin/datasets/dataset/{}/change/",
    "statistics_ms": "/api/v1/datasets/{}/statistics/",
}
TEXT = "Where is the parcel that I ordered last week, and when will it arrive? "


def main() -> int:
    parser = argparse.ArgumentParser(description="imports of two sizes")
    parser.add_argument("--rows", type=int, nargs=2, default=SIZES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signet-imports-") as folder:
        os.environ |= {"SIGNET_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}
        found = measured(Path(folder), options.rows)
    print(json.dumps(found))
    return 0


def measured(folder: Path, sizes: list[int]) -> dict[str, dict[str, float]]:
    """Figures by number of rows. Django is loaded here, since it reads the environment when it is imported."""
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    from mlops.models import User  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    actor = User.objects.create_user("bench", role="ml_engineer")
    client = Client(headers={"Host": "localhost"})
    client.force_login(actor)
    _imported(actor, folder, 10)  # what is loaded once is no part of it
    figures = {str(rows): _imported(actor, folder, rows) for rows in sizes}
    for name, path in PAGES.items():
        for rows, milliseconds in _answers(client, path, sizes).items():
            figures[str(rows)][name] = milliseconds
    return figures


def _imported(actor: Any, folder: Path, rows: int) -> dict[str, float]:
    from django.core.files import File  # noqa: PLC0415

    from datasets.models import Import  # noqa: PLC0415
    from datasets.services.imports import import_dataset, work_imports  # noqa: PLC0415

    path = folder / f"rows-{rows}.csv"
    with path.open("w") as file:
        file.write("id,message,label,score\n")
        file.writelines(f'{number},"{TEXT}{number}",label-{number % 15},{number / 8}\n' for number in range(rows))
    with path.open("rb") as raw:
        job = import_dataset(actor=actor, name=f"rows-{rows}", type="training", file=File(raw, path.name))
    began = time.perf_counter()
    with _peak() as extra_mib:
        work_imports()
    seconds = time.perf_counter() - began
    state = Import.objects.get(pk=job.pk).state
    if state != "completed":
        raise SystemExit(f"the import of {rows} rows is {state}")
    return {"seconds": seconds, "extra_mib": extra_mib(), "file_mib": path.stat().st_size / 2**20}


def _answers(client: Any, path: str, sizes: list[int]) -> dict[int, float]:
    """Median milliseconds of a page by number of rows. The sizes take turns, after each was asked for once: statistics
    are calculated then."""
    from datasets.models import Dataset  # noqa: PLC0415

    addresses = {rows: path.format(Dataset.objects.get(name=f"rows-{rows}").pk) for rows in sizes}
    times: dict[int, list[float]] = {rows: [] for rows in sizes}
    for address in addresses.values():
        if (answer := client.get(address)).status_code != 200:
            raise SystemExit(f"{address} answered {answer.status_code}")
    for _ in range(ROUNDS):
        for rows, address in addresses.items():
            began = time.perf_counter()
            client.get(address)
            times[rows].append(1e3 * (time.perf_counter() - began))
    return {rows: statistics.median(found) for rows, found in times.items()}


@contextmanager
def _peak() -> Iterator[Callable[[], float]]:
    """Yields what tells, afterwards, by how many MiB the resident memory of this process had grown at most."""
    process, done = psutil.Process(), threading.Event()
    before = highest = process.memory_info().rss

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.01):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: (highest - before) / 2**20
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    sys.exit(main())
