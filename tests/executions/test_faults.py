"""Faults lose nothing: workers are killed and frozen, the broker is flushed, the database goes away.

Everything here is real: web server and workers in processes of their own on PostgreSQL and Redis, the provider on
loopback. Each accepted execution must end exactly once and be charged once.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests import subscribing
from tests.cuttable import Relay
from tests.installation import Installation, eventually, production
from tests.provider import Provider

pytestmark = [pytest.mark.postgresql, pytest.mark.redis, pytest.mark.timeout(240)]

LEASE_S = "2"
EXECUTE = "/api/v1/programs/answering/execute/"
SEED = """
from mlops.services.history import operator
from mlops.services.language_models import create_language_model, set_default
from programs.services import create_program, create_signature, deploy_program, submit_program
from programs.services.modules import ModuleInput
from tests.factories import make_price
model = create_language_model(actor=operator(), name="openai/provided", **{fields!r})
make_price(model)
set_default(actor=operator(), model=model)
signature = create_signature(actor=operator(), name="answering", shorthand="question: str -> answer: str")
program = create_program(actor=operator(), name="answering", modules=[ModuleInput(key="main", signature=signature)])
deploy_program(actor=operator(), program=submit_program(actor=operator(), program=program))
"""


def seed(here: Installation, provider: Provider) -> None:
    fields = {"api_base": provider.base_url, "timeout_s": 30.0, "deadline_s": 60.0, "max_retries": 0}
    here.python(SEED.format(fields=fields))


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(scope="module")
def here(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("faults")
    with production(folder, SIGNET_LEASE_SECONDS=LEASE_S) as installation:
        seed(installation, provider)
        installation.start_web()
        installation.start("beat", "celery", "-A", "config", "beat", "--schedule", str(folder / "beat"))
        yield installation


@pytest.fixture
def client(here: Installation, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with here.client(request.node.name[:60]) as asking:
        yield asking


@pytest.fixture(autouse=True)
def _calm(provider: Provider, here: Installation) -> Iterator[None]:
    """No test leaves a worker or a slow provider to the next."""
    before = len(here.processes)
    yield
    provider.latency_s = 0
    for process in here.processes[before:]:
        end(process)


def ask(client: httpx.Client, number: int = 0) -> dict[str, Any]:
    response = client.post(EXECUTE, json={"input": {"question": f"Why {number}?"}, "options": {"mode": "async"}})
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def row(client: httpx.Client, execution: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/api/v1/executions/{execution['id']}/").json()
    return answer


def charges(here: Installation, execution: dict[str, Any]) -> list[tuple[Any, ...]]:
    where = f"subject_id = '{execution['id']}'"
    return here.rows(f"SELECT kind, amount < 0, used > 0 FROM mlops_creditentry WHERE {where} ORDER BY id")


ONCE = [("reserve", True, False), ("settle", False, True)]


def end(process: Any) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait(20)


def test_a_killed_worker_is_replaced_and_the_work_charged_once(
    here: Installation, provider: Provider, client: httpx.Client
) -> None:
    provider.latency_s = 20
    worker = here.start_worker("killed")
    execution = ask(client)
    eventually(lambda: row(client, execution)["state"] == "running", 30)
    eventually(lambda: provider.in_flight >= 1)
    end(worker)
    provider.latency_s = 0
    here.start_worker("second")
    done = eventually(lambda: (found := row(client, execution))["state"] == "completed" and found, 40)
    assert done["attempt"] == 2
    assert charges(here, execution) == ONCE


def test_a_frozen_worker_comes_back_too_late(here: Installation, provider: Provider, client: httpx.Client) -> None:
    provider.latency_s = 4
    frozen = here.start_worker("frozen")
    execution = ask(client)
    eventually(lambda: row(client, execution)["state"] == "running", 30)
    eventually(lambda: provider.in_flight >= 1)
    frozen.send_signal(signal.SIGSTOP)
    provider.latency_s = 0
    here.start_worker("overtaker")
    done = eventually(lambda: (found := row(client, execution))["state"] == "completed" and found, 40)
    frozen.send_signal(signal.SIGCONT)
    eventually(lambda: "was taken over" in here.logs(), 20)
    billed = ("token_usage", "cost_usd", "prices")  # what the late one was billed is added, if it got to know of it
    assert {**row(client, execution), **dict.fromkeys(billed)} == {**done, **dict.fromkeys(billed)}
    assert done["attempt"] == 2
    assert charges(here, execution) == ONCE


def test_a_flushed_broker_loses_no_pending_execution(
    here: Installation, provider: Provider, client: httpx.Client
) -> None:
    before = here.rows("SELECT count(*) FROM executions_execution WHERE state = 'completed'")[0][0]
    for number in range(100):
        ask(client, number)
    with redis.Redis(port=here.redis_port) as broker:
        assert broker.flushall()
    assert here.rows("SELECT count(*) FROM executions_execution WHERE state = 'pending'") == [(100,)]
    here.start_worker("after-flush")

    def completed() -> bool:
        done = here.rows("SELECT count(*) FROM executions_execution WHERE state = 'completed'")[0][0]
        return bool(done == before + 100)

    eventually(completed, 60)
    assert here.rows("SELECT count(*), count(DISTINCT key) FROM mlops_creditentry WHERE kind = 'settle'")[0][0] >= 100


def test_two_workers_never_run_the_same_row(here: Installation, provider: Provider, client: httpx.Client) -> None:
    asked = len(provider.requests)
    executions = [ask(client, 1000 + number) for number in range(60)]
    for number in range(2):
        here.start_worker(f"rival{number}")
    for execution in executions:
        eventually(lambda one=execution: row(client, one)["state"] == "completed", 60)  # type: ignore[misc]
    assert len(provider.requests) == asked + 60
    assert {row(client, execution)["attempt"] for execution in executions} == {1}


def test_a_subscriber_of_the_web_process_hears_of_what_a_worker_does(
    here: Installation, provider: Provider, client: httpx.Client
) -> None:
    """Of one execution and of all of its program; the worker says over Redis that there is something to hear."""
    provider.latency_s = 1
    token, execution = client.headers["Authorization"].split()[1], ask(client)

    async def listen() -> tuple[list[str], list[str]]:
        async with subscribing.connected(here.address, token) as socket, AsyncExitStack() as stack:
            await subscribing.subscribe(socket, subscribing.UPDATES, execution=execution["id"])
            first = await subscribing.update(socket)
            of_program = await stack.enter_async_context(subscribing.connected(here.address, token))
            await subscribing.subscribe(of_program, subscribing.UPDATES_OF_PROGRAM, program="answering")
            assert (await subscribing.update(of_program))["id"] == execution["id"]
            here.start_worker("heard")
            mine = [first, await subscribing.update(socket), last := await subscribing.update(socket)]
            theirs = [await subscribing.update(of_program) for _ in range(2)]
            assert (await subscribing.hear(socket))["type"] == "complete"
            assert last["output"] == row(client, execution)["output"] is not None
            return [one["state"] for one in mine], [one["state"] for one in theirs]

    with redis.Redis(port=here.redis_port) as broker, broker.pubsub() as nudges:
        nudges.subscribe("signet__group__changed.executions.execution")
        eventually(nudges.get_message)
        told, told_of_program = asyncio.run(listen())
        assert [eventually(nudges.get_message)["type"] for _ in ("claimed", "completed")] == ["message"] * 2
    assert told == ["pending", "running", "completed"]
    assert told_of_program == ["running", "completed"]


def test_the_ledger_is_the_balance_after_all_of_it(here: Installation, client: httpx.Client) -> None:
    assert here.manage("check_credits")
    unfinished = "SELECT count(*) FROM executions_execution WHERE state IN ('pending', 'running')"
    assert here.rows(unfinished) == [(0,)]


def test_a_database_that_is_gone_for_five_seconds_loses_nothing(provider: Provider, tmp_path: Path) -> None:
    with production(tmp_path, SIGNET_LEASE_SECONDS="10") as here, Relay(5432) as relay, ExitStack() as stack:
        seed(here, provider)
        here.database_port = relay.port
        here.start_web()
        worker = here.start_worker()
        client = stack.enter_context(here.client("survivor"))
        provider.latency_s = 2
        executions = [ask(client, number) for number in range(10)]
        eventually(lambda: provider.in_flight >= 10, 30)
        relay.cut()
        mending = threading.Timer(5, relay.mend)
        mending.start()
        refused = client.post(EXECUTE, json={"input": {"question": "Now?"}}, timeout=60)
        mending.join()
        assert refused.status_code in (200, 503), refused.text
        for execution in executions:
            done = eventually(lambda one=execution: (found := row(client, one))["state"] == "completed" and found, 60)  # type: ignore[misc]
            assert charges(here, done) == ONCE
        assert worker.poll() is None


def test_a_stopped_worker_hands_back_what_it_cannot_end(
    here: Installation, provider: Provider, client: httpx.Client
) -> None:
    provider.latency_s = 25
    worker = here.start_worker("stopped")
    execution = ask(client)
    eventually(lambda: row(client, execution)["state"] == "running", 30)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert row(client, execution)["state"] == "pending"
    provider.latency_s = 0
    here.start_worker("finisher")
    assert eventually(lambda: (found := row(client, execution))["state"] == "completed" and found, 40)["attempt"] == 2
    assert charges(here, execution) == ONCE
