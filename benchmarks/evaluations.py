"""Evaluations beside what nobody can beat: the latency of the model divided by how many examples run at once.

    python -m benchmarks.evaluations --rounds 3

1,000 examples with an engine inside of the process that sleeps 50 ms, 32 at once, over the ideal of 1.56 s; and two
worker processes beside one, at 500 ms. Everything is the product's own, from the verb to the interval of the score, but
the line to the provider is replaced. Needs PostgreSQL; the database is made and dropped. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.processes import ROOT, database, python, run_to_end

CONCURRENCY = 32
FIRST, SECOND = (1_000, 0.05), (1_280, 0.5)
"""Examples and seconds that the model takes: one process over the ideal, two processes over one."""


def main() -> None:
    parser = argparse.ArgumentParser(description="evaluations beside the ideal")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", default=os.environ.get("BENCH_POSTGRES", "postgres://postgres@127.0.0.1:5432"))
    parser.add_argument("--sqlite", action="store_true", help="the first figure only, on SQLite")
    options = parser.parse_args()
    with _installation(options) as env:
        figures = {"over_ideal": [_over_ideal(env) for _ in range(options.rounds)]}
        if not options.sqlite:
            figures["two_over_one"] = [_two_over_one(env) for _ in range(options.rounds)]
    medians = {name: round(statistics.median(values), 3) for name, values in figures.items()}
    print(json.dumps({**figures, "median": medians}))


@contextmanager
def _installation(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """The environment of a migrated installation with its own folder and database."""
    with tempfile.TemporaryDirectory(prefix="signet-bench-") as folder:
        env = {"SIGNET_DATA_DIR": folder, "SIGNET_SECRET_KEY": "a benchmark", "SIGNET_LOG_LEVEL": "WARNING"}
        if options.sqlite:
            run_to_end(python("manage.py", "migrate", "--verbosity", "0"), env)
            yield env
            return
        with database(options.postgres, f"signet_bench_{os.getpid()}_evaluations") as url:
            env["DATABASE_URL"] = url
            run_to_end(python("manage.py", "migrate", "--verbosity", "0"), env)
            yield env


def _over_ideal(env: dict[str, str]) -> float:
    size, latency_s = FIRST
    return _seconds(env, size, latency_s, workers=1) / (size / CONCURRENCY * latency_s)


def _two_over_one(env: dict[str, str]) -> float:
    return _seconds(env, *SECOND, workers=1) / _seconds(env, *SECOND, workers=2)


def _seconds(env: dict[str, str], size: int, latency_s: float, *, workers: int) -> float:
    """From asking the first worker to the score, with `workers` processes that have worked before."""
    seeded = run_to_end(python("-m", "benchmarks.evaluation_worker", "seed", str(size), str(workers)), env)
    evaluation, *warmings = seeded.split()
    processes = [_worker(env, latency_s, warming) for warming in warmings]
    try:
        for process in processes:
            _line(process)
        for process in processes:
            print(evaluation, file=process.stdin, flush=True)
        return max(float(_line(process)) for process in processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _worker(env: dict[str, str], latency_s: float, warming: str) -> subprocess.Popen[str]:
    command = python("-m", "benchmarks.evaluation_worker", "work", str(latency_s), warming)
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError("a worker has ended")
    return line


if __name__ == "__main__":
    main()
