"""What is measured, one round at a time. A round is short; variants take turns, so a busy machine hits all alike."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg2

from benchmarks.load import Load
from benchmarks.measure import CpuClock, pss_mib, rss_mib
from benchmarks.processes import database, pause, python, resume, run_to_end
from benchmarks.systems import System

SYNC_SETTINGS = ((0, 16), (50, 64), (1000, 256), (1000, 512))  # latency of the model in ms, clients
ASYNC_LATENCIES = (50, 1000)
SUBMITTERS = 16
WARM_EXECUTIONS = {"naive": 64, "ours": 768}
MEMORY_STEPS = (2_000, 18_000)
MEMORY_LIMIT_S = 90.0
FOLLOWED = ("execution", "program", "evaluation")


@dataclass(frozen=True)
class Sample:
    """One round of one variant in one scenario, with its figures by name."""

    scenario: str
    variant: str
    figures: dict[str, float]
    note: str = ""


def set_latency(provider_url: str, latency_ms: float) -> None:
    address = urlsplit(provider_url)
    body = json.dumps({"latency_ms": latency_ms}).encode()
    with urllib.request.urlopen(f"http://{address.netloc}/latency", body, timeout=5) as response:
        response.read()


def load(system: System, mode: str, clients: int, *, seconds: float, requests: int = 0, latency_ms: float = 0) -> Load:
    """Drive a system from a generator process; `requests` bounds the number instead of the time."""
    latency_s = latency_ms / 1000
    command = python("-m", "benchmarks.load", system.url, "--clients", str(clients), "--body", system.body(mode))
    command += ["--bearer", system.bearer, "--seconds", str(seconds)]
    command += ["--ramp", str(latency_s), "--warm-up", str(1.0 + 2 * latency_s)]
    return Load(**json.loads(run_to_end(command + (["--requests", str(requests)] if requests else []))))


def sync_round(system: System, latency_ms: int, clients: int, seconds: float) -> Sample:
    """Synchronous REST under a closed loop."""
    clock = CpuClock(system.pids)
    found = load(system, "sync", clients, seconds=seconds, latency_ms=latency_ms)
    figures = {
        "per_second": found.per_second,
        "p50_ms": found.p50_ms,
        "p95_ms": found.p95_ms,
        "cpu_ms": clock.milliseconds() / max(1, found.answered),
        "errors": found.errors,
        "pss_mib": pss_mib(system.pids),
    }
    return Sample(f"sync {latency_ms} ms / {clients}", system.name, figures, found.first_error)


def budgets_round(system: System, variant: str, clients: int, seconds: float) -> Sample:
    """The same, named after how many budgets are in force."""
    found = sync_round(system, 0, clients, seconds)
    return Sample(f"budgets, {clients} clients", variant, found.figures, found.note)


@dataclass(frozen=True)
class Drain:
    """How a worker emptied its queue."""

    executions: int
    failed: int
    seconds: float
    cpu_ms: float
    submitted: Load

    @property
    def per_second(self) -> float:
        return self.executions / self.seconds


def drain(system: System, executions: int, limit_s: float) -> Drain:
    """Queue executions while the worker is paused, resume it, and take the time until the last one is recorded."""
    table = _Table(system)
    done_before, failed_before = table.ended()
    pause(system.worker)
    try:
        submitted = load(system, "async", SUBMITTERS, seconds=120, requests=executions)
    finally:
        clock, resumed = CpuClock(system.pids), time.time()
        resume(system.worker)
    expected, deadline = submitted.answered, resumed + limit_s
    while sum(table.ended()) - done_before - failed_before < expected and time.time() < deadline:
        time.sleep(0.2)
    cpu_ms = clock.milliseconds()
    done, failed = table.ended()
    last = table.last_finished()
    table.close()
    count = done - done_before
    return Drain(count, failed - failed_before, max(last - resumed, 0.001), cpu_ms / max(1, count), submitted)


class _Table:
    """The rows of executions, read from outside; both systems name state and finished_at alike."""

    def __init__(self, system: System) -> None:
        self._table = system.table
        self._connection = psycopg2.connect(system.database_url)
        self._connection.autocommit = True

    def ended(self) -> tuple[int, int]:
        """Completed executions, and those that ended otherwise."""
        done = self._one("count(*) FILTER (WHERE state = 'completed')")
        return int(done), int(self._one("count(*) FILTER (WHERE state IN ('failed', 'cancelled'))"))

    def last_finished(self) -> float:
        return self._one("coalesce(extract(epoch FROM max(finished_at)), 0)")

    def close(self) -> None:
        self._connection.close()

    def _one(self, expression: str) -> float:
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT {expression} FROM {self._table}")
            row = cursor.fetchone()
        return float(row[0]) if row else 0.0


def async_round(system: System, latency_ms: int, executions: int, limit_s: float) -> Sample:
    """Executions per second of the worker, and what submitting them took."""
    found = drain(system, executions, limit_s)
    figures = {
        "per_second": found.per_second,
        "executions": float(found.executions),
        "cpu_ms": found.cpu_ms,
        "errors": float(found.failed + found.submitted.errors),
        "submitted_per_second": found.submitted.per_second,
        "submit_p95_ms": found.submitted.p95_ms,
        "pss_mib": pss_mib(system.pids),
    }
    return Sample(f"async {latency_ms} ms", system.name, figures, found.submitted.first_error)


def warm_rate(system: System, latency_ms: int) -> float:
    """Executions per second, roughly: of a short drain, after one that has warmed every process."""
    executions, limit_s = WARM_EXECUTIONS[system.name], 30 + latency_ms / 50
    drain(system, executions, limit_s)
    return drain(system, executions, limit_s).per_second


def memory_samples(system: System) -> Iterator[Sample]:
    """Resident memory after 2,000 and after 20,000 executions (fewer where time ran out: the figure tells)."""
    after_steps: dict[str, list[tuple[int, float]]] = {"web": [], "worker": []}
    for executions in MEMORY_STEPS:
        found = load(system, "sync", 16, seconds=MEMORY_LIMIT_S, requests=executions)
        after_steps["web"].append((found.answered, rss_mib([system.web])))
    for executions in MEMORY_STEPS:
        ended = drain(system, executions, MEMORY_LIMIT_S).executions
        after_steps["worker"].append((ended, rss_mib([system.worker])))
    for process, ((first, early), (second, late)) in after_steps.items():
        figures = {"executions": first + second, "rss_2000_mib": early, "rss_20000_mib": late, "growth": late / early}
        yield Sample(f"memory {process}", system.name, figures)


def evaluations_samples(rounds: int, postgres: str) -> Iterator[Sample]:
    """Evaluations beside the ideal, and two worker processes beside one."""
    command = python("-m", "benchmarks.evaluations", "--rounds", str(rounds), "--postgres", postgres)
    found = json.loads(run_to_end(command).splitlines()[-1])
    for name in ("over_ideal", "two_over_one"):
        yield from (Sample("evaluations", "ours", {name: value}) for value in found[name])


def imports_samples() -> Iterator[Sample]:
    """Files of two sizes in a process of their own; pages of the larger one are compared with those of the smaller."""
    small, large = json.loads(run_to_end(python("-m", "benchmarks.imports")).splitlines()[-1]).values()
    yield Sample("imports", "small", small)
    yield Sample("imports", "ours", large)


def lineage_samples(database_url: str) -> Iterator[Sample]:
    """Where executions come from and who used what, among few executions and among many, in an empty database."""
    env = {"DATABASE_URL": database_url, "REDIS_URL": ""}
    small, large = json.loads(run_to_end(python("-m", "benchmarks.lineage"), env).splitlines()[-1]).values()
    yield Sample("lineage", "small", small)
    yield Sample("lineage", "ours", large)


def usage_samples(rounds: int, postgres: str) -> Iterator[Sample]:
    """Reports of usage over few executions and over many, and how fast those are counted."""
    command = python("-m", "benchmarks.usage", "--rounds", str(rounds), "--postgres", postgres)
    small, large = json.loads(run_to_end(command).splitlines()[-1]).values()
    for variant, found in (("small", small), ("ours", large)):
        yield Sample("usage counted", variant, {name: found[name] for name in ("counted_per_second", "cpu_ms")})
        yield from (Sample("usage", variant, figures) for figures in found["rounds"])


def tokens_samples(rounds: int) -> list[Sample]:
    """The actor by a token and the policy of execute, per request, for tokens of several kinds."""
    found = json.loads(run_to_end(python("-m", "benchmarks.tokens", "--rounds", str(rounds))).splitlines()[-1])
    return [
        Sample(f"tokens, {variant}", "ours", figures) for variant, measured in found.items() for figures in measured
    ]


def graphql_samples(rounds: int, postgres: str) -> Iterator[Sample]:
    """Programs with their modules and latest executions in one document, beside the list of programs over REST alone
    (`flat`), as many rows of each kind over REST (`rows`) and the same rows with a request per list (`all`)."""
    for number in range(rounds):
        with database(postgres, f"signet_bench_graphql_{number}") as url:
            found = json.loads(run_to_end(python("-m", "benchmarks.graphql"), {"DATABASE_URL": url}).splitlines()[-1])
        more = found["queries"] - found["queries_of_ten"]
        yield Sample("graphql", "ours", {"nested_ms": found["graphql_ms"], "more_queries": more})
        yield Sample("graphql", "flat", {"nested_ms": found["rest_ms"]})
        yield Sample("graphql", "rows", {"nested_ms": found["rest_rows_ms"]})
        yield Sample("graphql", "all", {"nested_ms": found["rest_all_ms"]})


def subscriptions_samples(rounds: int, postgres: str) -> Iterator[Sample]:
    """1,000 subscribers of one web process: until the last one hears of a commit, and what they cost while idle."""
    for subject in FOLLOWED:
        of_subject = ("--subject", subject, "--rounds", str(rounds), "--postgres", postgres)
        found = json.loads(run_to_end(python("-m", "benchmarks.subscriptions", *of_subject)).splitlines()[-1])
        for name, values in found.items():
            yield from (Sample(f"subscriptions, {subject}", "ours", {name: value}) for value in values)


def runtime_samples(rounds: int) -> list[Sample]:
    """One call in process with a zero-latency engine: raw DSPy beside `runtime.run`."""
    found = json.loads(run_to_end(python("-m", "benchmarks.runtime", "--rounds", str(rounds))).splitlines()[-1])
    return [Sample("runtime", variant, {"us_per_call": value}) for variant, values in found.items() for value in values]


def compile_samples(rounds: int, postgres: str) -> list[Sample]:
    """Compiles with a model that takes 20 ms: DSPy alone beside the product, on each database."""
    command = python("-m", "benchmarks.compile", "--rounds", str(rounds), "--postgres", postgres)
    found = json.loads(run_to_end(command).splitlines()[-1])
    return [
        Sample(f"compile, {name}", variant, figures)
        for name, its_rounds in found.items()
        for one in its_rounds
        for variant, figures in one.items()
    ]
