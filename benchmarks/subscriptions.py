"""1,000 subscribers of one web process: when they hear of a change that another process commits, and what they cost.

    python -m benchmarks.subscriptions --rounds 5 --subject program

100 engineers, each with a token of their own and 10 connections, follow the same execution, evaluation, or program with
one execution over GraphQL. Another process changes it; `slowest_ms` is from its commit to the last subscriber.
`queries_per_second` is all that the web process asks of PostgreSQL while all of them are connected and nothing happens.
Needs PostgreSQL and `redis-server`; the database is made and dropped. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import ClientConnection

from benchmarks.counting import CountingRelay
from benchmarks.processes import ROOT, database, free_port, python, run_to_end, running, wait_for_port
from benchmarks.systems import redis_server, uvicorn_command
from tests import subscribing

USERS, CONNECTIONS = 100, 10
IDLE_S = 30.0
OPENING = 50
"""Connections that are opened at once: how fast they come is not what is measured."""

SUBJECTS = {
    "execution": ("Execution", "executionUpdates(executionId: $id)"),
    "program": ("Execution", "executionUpdates(programId: $id)"),
    "evaluation": ("Evaluation", "evaluationUpdates(evaluationId: $id)"),
}
"""What may be followed: the rows that change, and how one subscribes to them."""

SEED = """
import json
from datasets.models import Dataset
from executions.models import Evaluation, Execution
from mlops.models import User
from mlops.services.tokens import create_token
from programs.models import Program, PromptSet
program = Program.objects.create(name="followed")
prompts = PromptSet.objects.create(program=program, digest="followed")
users = [User.objects.create(username=f"user{{n}}", role="ml_engineer") for n in range({users})]
of_first = {{"user": users[0], "program": program, "prompt_set": prompts}}
found = {{
    "program": program,
    "execution": Execution.objects.create(**of_first, mode="async", source="rest"),
    "evaluation": Evaluation.objects.create(**of_first, dataset=Dataset.objects.create(name="followed", type="test")),
}}
for model in (Execution, Evaluation):
    model.objects.update(state="running")
tokens = [create_token(actor=one, user=one, name="bench")[1] for one in users]
print(json.dumps([str(found["{subject}"].pk), tokens]))
"""

CHANGE = """
import sys, time
from django.db.models import F
from executions.models import {model} as Changed
from mlops.services.nudges import nudge
for line in sys.stdin:
    Changed.objects.update(revision=F("revision") + 1)
    print(time.time(), flush=True)
    nudge(Changed)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="subscribers of one process")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--subject", choices=SUBJECTS, default="execution")
    parser.add_argument("--users", type=int, default=USERS, help=f"with {CONNECTIONS} connections each")
    parser.add_argument("--postgres", default=os.environ.get("BENCH_POSTGRES", "postgres://postgres@127.0.0.1:5432"))
    options = parser.parse_args()
    with _web(options.postgres) as web:
        seed = SEED.format(users=options.users, subject=options.subject)
        id, tokens = json.loads(run_to_end(_shell(seed), web.env).splitlines()[-1])
        print(json.dumps(asyncio.run(_measured(web, options.subject, id, tokens, options.rounds))))


@dataclass(frozen=True)
class Web:
    """A web process, the environment of its installation, and what it asks of the database."""

    address: str
    env: dict[str, str]
    asked: CountingRelay


@contextlib.contextmanager
def _web(postgres: str) -> Iterator[Web]:
    """Of an empty installation."""
    with tempfile.TemporaryDirectory(prefix="signet-bench-") as name, contextlib.ExitStack() as stack:
        folder, port = Path(name), free_port()
        env = {
            "SIGNET_DATA_DIR": name,
            "SIGNET_SECRET_KEY": "a benchmark on loopback, a benchmark on loopback",
            "SIGNET_LOG_LEVEL": "WARNING",
            "DATABASE_URL": stack.enter_context(database(postgres, f"signet_bench_{os.getpid()}_subscriptions")),
            "REDIS_URL": f"redis://127.0.0.1:{stack.enter_context(redis_server(folder))}/0",
        }
        run_to_end(python("manage.py", "migrate", "--verbosity", "0"), env)
        log, relay = folder / "web.log", stack.enter_context(CountingRelay(env["DATABASE_URL"]))
        through_relay = {**env, "DATABASE_URL": relay.url}
        stack.enter_context(running(uvicorn_command("config.asgi:application", port), log, through_relay))
        wait_for_port(port, log)
        yield Web(f"http://127.0.0.1:{port}", env, relay)


async def _measured(web: Web, subject: str, id: str, tokens: list[str], rounds: int) -> dict[str, list[float]]:
    model, field = SUBJECTS[subject]
    query = f"subscription($id: ID!) {{ {field} {{ id state revision }} }}"
    async with contextlib.AsyncExitStack() as stack:
        sockets = await _subscribed(stack, web.address, query, id, tokens)
        idle = await _queries_per_second(web)
        delays = await asyncio.to_thread(_Changes, web.env, model)
        heard = [await delays.heard_by(sockets) for _ in range(rounds + 1)][1:]
        delays.stop()
    return {
        "slowest_ms": [max(one) for one in heard],
        "p50_ms": [statistics.median(one) for one in heard],
        "queries_per_second": [idle],
    }


async def _subscribed(
    stack: contextlib.AsyncExitStack, address: str, query: str, id: str, tokens: list[str]
) -> list[ClientConnection]:
    door = asyncio.Semaphore(OPENING)

    async def subscribed(token: str) -> ClientConnection:
        async with door:
            socket = await stack.enter_async_context(subscribing.connected(address, token))
            await subscribing.subscribe(socket, query, id=id)
            await subscribing.update(socket)
            return socket

    return await asyncio.gather(*(subscribed(token) for token in tokens for _ in range(CONNECTIONS)))


class _Changes:
    """Another process of the installation, which changes rows when it is asked to."""

    def __init__(self, env: dict[str, str], model: str) -> None:
        self._process = subprocess.Popen(
            _shell(CHANGE.format(model=model)),
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def heard_by(self, sockets: list[ClientConnection]) -> list[float]:
        """Milliseconds from the commit until each of them has it."""

        async def heard(socket: ClientConnection) -> float:
            await socket.recv()
            return time.time()

        waiting = [asyncio.ensure_future(heard(socket)) for socket in sockets]
        committed = await asyncio.to_thread(self._change)
        return [(at - committed) * 1000 for at in await asyncio.gather(*waiting)]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _change(self) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("now", file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


async def _queries_per_second(web: Web) -> float:
    before, began = web.asked.statements, time.monotonic()
    await asyncio.sleep(IDLE_S)
    return (web.asked.statements - before) / (time.monotonic() - began)


def _shell(code: str) -> list[str]:
    return python("manage.py", "shell", "--no-imports", "-c", code)


if __name__ == "__main__":
    main()
