"""Compiles of the product beside DSPy's own: the same optimizer, data and model, which answers after 20 ms.

    python -m benchmarks.compile --rounds 5

The product's are asked for and worked on as by a worker: claimed under a lease, each answer stored before the next
call, candidates and progress as rows, budgets looked at. What counts is the time between the judgement of the baseline
and that of the result, with the version that is made of it; DSPy alone judges nothing. On SQLite, and on PostgreSQL
where one answers; databases are made and dropped. Prints one JSON line: rounds by database and number of threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg2

from benchmarks.processes import ROOT, database, python, run_to_end

THREADS = (1, 8)
Figures = dict[str, float]
Round = dict[str, Figures]
"""Figures by variant: `raw` is DSPy alone, `ours` the product; its `over_raw` is the ratio of the two in that round."""


def main() -> None:
    parser = argparse.ArgumentParser(description="compiles of the product beside DSPy's own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", default=os.environ.get("BENCH_POSTGRES", "postgres://postgres@127.0.0.1:5432"))
    options = parser.parse_args()
    found = measure(options.rounds, options.postgres)
    for name, rounds in found.items():
        ratios = [one["ours"]["over_raw"] for one in rounds]
        spread = f"{min(ratios):.3f}..{max(ratios):.3f}"
        print(f"{name}: {statistics.median(ratios):.3f} times DSPy's own ({spread})", file=sys.stderr)
    print(json.dumps(found))


def measure(rounds: int, postgres: str) -> dict[str, list[Round]]:
    """Databases, numbers of threads and variants take turns within a round; the first round is not counted."""
    found: dict[str, list[Round]] = {}
    with ExitStack() as stack:
        workers = {"SQLite": stack.enter_context(_worker({"DATABASE_URL": ""}))}
        try:
            url = stack.enter_context(database(postgres, f"signet_bench_{os.getpid()}_compile"))
        except psycopg2.OperationalError as error:
            print(f"not on PostgreSQL: {error}", file=sys.stderr)
        else:
            workers["PostgreSQL"] = stack.enter_context(_worker({"DATABASE_URL": url}))
        for number in range(rounds + 1):
            for threads in THREADS:
                for name, worker in workers.items():
                    one = _round(worker, threads)
                    if number:
                        found.setdefault(f"{name}, {threads} thread{'s' * (threads > 1)}", []).append(one)
    return found


def _round(worker: subprocess.Popen[str], threads: int) -> Round:
    one = {variant: _compiled(worker, variant, threads) for variant in ("raw", "ours")}
    if one["raw"]["calls"] != one["ours"]["calls"]:
        raise RuntimeError(f"both variants ask the model equally often: {one}")
    one["ours"]["over_raw"] = one["ours"]["seconds"] / one["raw"]["seconds"]
    return one


def _compiled(worker: subprocess.Popen[str], variant: str, threads: int) -> Figures:
    print(variant, threads, file=worker.stdin, flush=True)
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise RuntimeError("a worker has ended")
    figures: Figures = json.loads(line)
    return figures


@contextmanager
def _worker(env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process on an installation of its own."""
    with tempfile.TemporaryDirectory(prefix="signet-compile-") as folder:
        env = {**env, "SIGNET_DATA_DIR": folder, "SIGNET_SECRET_KEY": "a benchmark", "SIGNET_LOG_LEVEL": "WARNING"}
        run_to_end(python("manage.py", "migrate", "--verbosity", "0"), env)
        worker = subprocess.Popen(
            python("-m", "benchmarks.compile_worker"),
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield worker
        finally:
            worker.kill()
            worker.wait()


if __name__ == "__main__":
    main()
