"""`make bench`: measure this product beside its references in one run, print a table and keep a JSON file.

    python -m benchmarks.run --only sync,async --rounds 3 --seconds 5
    python -m benchmarks.run --systems plain,naive        # the references alone

Needs PostgreSQL (`--postgres`) and `redis-server`; databases are made and dropped, Redis is started and stopped.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import timeit
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks import banking15, report, scenarios, streaming, systems
from benchmarks.processes import database
from benchmarks.scenarios import Sample
from benchmarks.systems import Surroundings, System
from tests.provider import Provider

SCENARIOS = (
    "runtime",
    "compile",
    "evaluations",
    "banking15",
    "graphql",
    "subscriptions",
    "imports",
    "lineage",
    "tokens",
    "usage",
    "budgets",
    "streaming",
    "memory",
    "sync",
    "async",
)
STARTERS: dict[str, Callable[[Surroundings], AbstractContextManager[System]]] = {
    "plain": systems.plain,
    "naive": systems.naive,
    "ours": systems.ours,
}
USED_BY = {"sync": ("plain", "ours"), "async": ("naive", "ours")}


class Run:
    """One benchmark run: the chosen scenarios over the chosen systems."""

    def __init__(self, around: Surroundings, chosen: list[str], rounds: int, seconds: float) -> None:
        self._around, self._chosen, self._rounds, self._seconds = around, chosen, rounds, seconds
        self.samples: list[Sample] = []

    def measure(self, scenario: str) -> None:
        for sample in getattr(self, f"_{scenario}")():
            figures = "  ".join(f"{name}={value:.4g}" for name, value in sample.figures.items())
            print(f"{sample.scenario:20} {sample.variant:6} {figures} {sample.note}".rstrip(), flush=True)
            self.samples.append(sample)

    def _runtime(self) -> Iterator[Sample]:
        yield from scenarios.runtime_samples(self._rounds)

    def _compile(self) -> Iterator[Sample]:
        yield from scenarios.compile_samples(self._rounds, self._around.postgres)

    def _evaluations(self) -> Iterator[Sample]:
        yield from scenarios.evaluations_samples(self._rounds, self._around.postgres)

    def _banking15(self) -> Iterator[Sample]:
        if not banking15.DATA.is_dir():
            raise OSError(f"there is no {banking15.DATA}")
        with systems.embedded(self._around) as client:
            yield Sample("banking15", "ours", banking15.improve(client).figures)

    def _graphql(self) -> Iterator[Sample]:
        yield from scenarios.graphql_samples(self._rounds, self._around.postgres)

    def _imports(self) -> Iterator[Sample]:
        yield from scenarios.imports_samples()

    def _subscriptions(self) -> Iterator[Sample]:
        yield from scenarios.subscriptions_samples(self._rounds, self._around.postgres)

    def _lineage(self) -> Iterator[Sample]:
        with database(self._around.postgres, self._around.database_name("lineage")) as url:
            yield from scenarios.lineage_samples(url)

    def _tokens(self) -> Iterator[Sample]:
        yield from scenarios.tokens_samples(self._rounds)

    def _usage(self) -> Iterator[Sample]:
        yield from scenarios.usage_samples(self._rounds, self._around.postgres)

    def _budgets(self) -> Iterator[Sample]:
        scenarios.set_latency(self._around.provider_url, 0)
        limited = systems.ours(self._around, suffix="_budgets", seeding="seed_with_budgets()")
        with systems.ours(self._around) as free, limited as three:
            for system in (free, three):
                scenarios.load(system, "sync", 16, seconds=2)
            for _ in range(self._rounds):
                yield scenarios.budgets_round(free, "none", 16, self._seconds)
                yield scenarios.budgets_round(three, "ours", 16, self._seconds)

    def _streaming(self) -> Iterator[Sample]:
        with Provider() as provider:
            around = replace(self._around, provider_url=provider.base_url)
            with systems.ours(around, suffix="_streaming") as system:
                streaming.measured(system, provider, 8, 1)  # imports, pools and caches are no part of a round
                for _ in range(self._rounds):
                    for readers in streaming.AT_ONCE:
                        figures = streaming.measured(system, provider, readers, self._seconds).figures()
                        yield Sample(f"streaming, {readers} readers", "ours", figures)

    def _memory(self) -> Iterator[Sample]:
        if "ours" in self._chosen:
            scenarios.set_latency(self._around.provider_url, 0)
            with systems.ours(self._around, suffix="_memory") as fresh:
                yield from scenarios.memory_samples(fresh)

    def _sync(self) -> Iterator[Sample]:
        with self._running("sync") as compared:
            scenarios.set_latency(self._around.provider_url, 0)
            for system in compared:
                scenarios.load(system, "sync", 16, seconds=2)  # imports, pools and caches are no part of a round
            for latency_ms, clients in scenarios.SYNC_SETTINGS:
                scenarios.set_latency(self._around.provider_url, latency_ms)
                for _ in range(self._rounds):
                    for system in compared:
                        yield scenarios.sync_round(system, latency_ms, clients, self._seconds)

    def _async(self) -> Iterator[Sample]:
        with self._running("async") as compared:
            for latency_ms in scenarios.ASYNC_LATENCIES:
                scenarios.set_latency(self._around.provider_url, latency_ms)
                sizes = [max(64, int(scenarios.warm_rate(system, latency_ms) * self._seconds)) for system in compared]
                for _ in range(self._rounds):
                    for system, executions in zip(compared, sizes, strict=True):
                        yield scenarios.async_round(system, latency_ms, executions, limit_s=6 * self._seconds)

    @contextmanager
    def _running(self, scenario: str) -> Iterator[list[System]]:
        with ExitStack() as stack:
            names = [name for name in USED_BY[scenario] if name in self._chosen]
            yield [stack.enter_context(STARTERS[name](self._around)) for name in names]


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="signet-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        around = Surroundings(
            provider_url=stack.enter_context(systems.provider(folder)),
            postgres=options.postgres,
            redis_port=stack.enter_context(systems.redis_server(folder)),
            folder=folder,
        )
        run = Run(around, options.systems, options.rounds, options.seconds)
        failed = [scenario for scenario in options.only if not _measured(run, scenario)]
    summary = report.summarise(run.samples)
    path = report.write(run.samples, summary, _machine())
    print("", report.table(summary), "", *report.verdicts(summary), f"kept in {path}", sep="\n")
    return 1 if failed else 0


def _measured(run: Run, scenario: str) -> bool:
    """Measure; a system that does not start must not cost the figures of the others."""
    try:
        run.measure(scenario)
    except (RuntimeError, OSError) as error:
        print(f"{scenario} could not be measured: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="benchmarks of this product beside its references")
    parser.add_argument("--only", type=_some_of(SCENARIOS), default=list(SCENARIOS), help=",".join(SCENARIOS))
    parser.add_argument("--systems", type=_some_of(tuple(STARTERS)), default=list(STARTERS), help=",".join(STARTERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement")
    parser.add_argument("--postgres", default=os.environ.get("BENCH_POSTGRES", "postgres://postgres@127.0.0.1:5432"))
    return parser.parse_args()


def _some_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(value: str) -> list[str]:
        asked = value.split(",")
        if unknown := set(asked) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return [name for name in known if name in asked]

    return parse


def _machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "yardstick_ms": _yardstick_ms(),
    }


def _yardstick_ms() -> float:
    """Milliseconds of one fixed piece of work, so that runs on slower, faster or busier machines can be compared."""
    return 1000 * min(timeit.repeat("sum(range(1_000_000))", number=1, repeat=5))


if __name__ == "__main__":
    sys.exit(main())
