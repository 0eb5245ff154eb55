"""A compile whose workers are killed, again and again, ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlops.services.jobs import MAX_IDLE_ATTEMPTS
from tests.installation import ROOT, Installation, eventually, postgresql_database
from tests.optimizations import compiling
from tests.optimizations.forking import VALIDATION
from tests.provider import Exchange, Provider, hang

KILLS = 10
"""On each of two databases: twenty in all."""
LEASE_S = 1
LATENCY_S = 0.04


class Workers:
    """Forks workers inside of an installation; see `tests.optimizations.forking`."""

    def __init__(self, here: Installation) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.optimizations.forking"],
            cwd=ROOT, env=here.variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._read() == "ready"

    def call(self, name: str, *arguments: Any) -> Any:
        return self._ask(["call", name, list(arguments)])

    def start(self) -> None:
        """A worker begins to work on what is pending."""
        self._ask(["start"])

    def kill(self) -> bool:
        """Whether it was still at work."""
        return bool(self._ask(["kill"]) == "killed")

    def join(self) -> None:
        """Wait until there is nothing left to do."""
        assert self._ask(["join"]) == 0

    def close(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)

    def _ask(self, command: list[Any]) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the worker has gone"
        return json.loads(line)


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield ""
        return
    with postgresql_database() as name:
        yield name


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_workers_that_are_killed_change_nothing(kind: str, tmp_path: Path) -> None:
    with database(kind) as name, Provider(latency_s=LATENCY_S) as provider:
        provider.answer(compiling.knowing())
        here = Installation(tmp_path, name, environment={"SIGNET_LEASE_SECONDS": str(LEASE_S)})
        here.migrate()
        workers = Workers(here)
        try:
            workers.call("prepare", provider.base_url)
            undisturbed = _undisturbed(workers)
            paid = len(provider.requests)
            killed, phases = _under_fire(workers, provider, random.Random(20))
        finally:
            workers.close()
    assert killed["attempt"] == KILLS + 1
    told = ["state", "error", "finish_reason", "candidates", "is_better", "comparison", "calls", "cost", "tokens"]
    told += ["memo", "ledger"]
    assert {name: killed[name] for name in told} == {name: undisturbed[name] for name in told}
    assert (killed["state"], killed["finish_reason"], len(killed["candidates"])) == ("completed", "finished", 12)
    assert sorted(killed["versions"]) == [1, 2, 3]  # the program that was there, and one of each compile
    # Only what was under way when a worker was killed was paid for again: one call of the optimizer, or the examples
    # that were being evaluated.
    twice = len(provider.requests) - 2 * paid
    searching = sum(phase == "compiling" for phase in phases)
    assert searching >= KILLS / 2
    assert 0 <= twice <= searching + VALIDATION * (KILLS - searching)


@pytest.mark.timeout(120)
def test_a_compile_that_kills_each_of_its_workers_at_once_fails_in_the_end(tmp_path: Path) -> None:
    with Provider() as provider:
        provider.answer(compiling.knowing())
        here = Installation(tmp_path)
        here.migrate()
        workers = Workers(here)
        try:
            workers.call("prepare", provider.base_url)
            job = workers.call("ask")
            attempts = 1 + MAX_IDLE_ATTEMPTS  # the first one gets on: it evaluates the baseline
            provider.script(*[_answering] * VALIDATION, *[hang()] * 2 * attempts)  # the search gets no answer
            for attempt in range(1, attempts + 1):
                workers.start()
                eventually(partial(_has_received, provider, VALIDATION + attempt), 60)
                assert workers.kill()
                assert workers.call("told", job)["state"] == "running"
                workers.call("lose", job)
            told = workers.call("told", job)
        finally:
            workers.close()
    assert (told["state"], told["error_code"], told["finish_reason"]) == ("failed", "lease_lost", "failed")
    assert (told["attempt"], told["memo"], told["candidates"], told["result"]) == (attempts, 0, [], None)
    assert told["ledger"] == [["reserve", 0], ["release", 0]]
    assert len(provider.requests) == VALIDATION + attempts


async def _answering(exchange: Exchange) -> None:
    exchange.answer()


def _undisturbed(workers: Workers) -> dict[str, Any]:
    job = workers.call("ask")
    workers.start()
    workers.join()
    told: dict[str, Any] = workers.call("told", job)
    return told


def _under_fire(workers: Workers, provider: Provider, moments: random.Random) -> tuple[dict[str, Any], list[str]]:
    """The same compile with its workers killed soon after they have made some calls, and in which phase each was."""
    job = workers.call("ask")
    phases: list[str] = []
    for _ in range(KILLS):
        enough = len(provider.requests) + moments.randint(1, 3)
        workers.start()
        eventually(partial(_has_received, provider, enough), 60)
        time.sleep(moments.uniform(0, 2 * LATENCY_S))
        assert workers.kill()
        phases.append(workers.call("told", job)["phase"])
        time.sleep(LEASE_S * 1.1)
    workers.start()
    workers.join()
    return workers.call("told", job), phases


def _has_received(provider: Provider, requests: int) -> bool:
    return len(provider.requests) >= requests
