"""Many calls at once: the limit is ours, and a call that waits holds no thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy
import pytest
import uvloop

from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import language_model
from mlops.runtime.recorder import Recorder
from mlops.types import LanguageModelSpec, ModelErrorCode
from tests.mlops.runtime.calling import aask, fail, program, run, spec_of
from tests.provider import Exchange, Provider, hang, reset, status

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Crowd:
    """Answers nobody before `size` calls are in flight and `open` is set."""

    def __init__(self, provider: Provider, size: int) -> None:
        self.provider = provider
        self.size = size
        self.open = False

    async def answer(self, exchange: Exchange) -> None:
        while self.provider.max_in_flight < self.size or not self.open:
            await asyncio.sleep(0.01)
        exchange.complete({"content": "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"}, "stop")


async def calls(spec: LanguageModelSpec, number: int) -> list[Any]:
    with execution_context(language_model(spec), adapter("chat")):
        return await asyncio.gather(*(program.acall(question=str(index)) for index in range(number)))


@pytest.mark.parametrize("loop_factory", LOOPS, ids=["asyncio", "uvloop"])
def test_more_calls_in_flight_than_lm15_allows_by_itself(provider: Provider, loop_factory: Any) -> None:
    crowd = Crowd(provider, 150)
    crowd.open = True
    provider.script(*[crowd.answer] * 150)
    answers = run(calls(spec_of(provider, concurrency_limit=200, timeout_s=60, deadline_s=60), 150), loop_factory)
    assert {answer.answer for answer in answers} == {"yes"}
    assert provider.max_in_flight == 150


def test_limit_holds(provider: Provider) -> None:
    crowd = Crowd(provider, 5)
    crowd.open = True
    provider.script(*[crowd.answer] * 40)
    answers = run(calls(spec_of(provider, concurrency_limit=5, timeout_s=60, deadline_s=60), 40))
    assert len(answers) == 40
    assert provider.max_in_flight == 5


def test_waiting_holds_no_thread(provider: Provider) -> None:
    crowd = Crowd(provider, 300)
    provider.script(*[crowd.answer] * 300)
    spec = spec_of(provider, concurrency_limit=400, timeout_s=60, deadline_s=60)

    async def measured() -> tuple[int, int]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))  # DSPy prepares requests in threads
        before = threading.active_count()
        work = asyncio.create_task(calls(spec, 300))
        while provider.max_in_flight < 300:
            await asyncio.sleep(0.01)
        during = threading.active_count()
        crowd.open = True
        await work
        return before, during

    before, during = run(measured())
    assert during <= before + 2


def test_waiting_for_a_slot_ends_with_the_deadline_and_counts_as_waiting(provider: Provider) -> None:
    spec = spec_of(provider, concurrency_limit=1, deadline_s=0.4)
    recorder = Recorder()

    async def crowded_out() -> None:
        client = language_model(spec).engine.async_engine.chain[0].client()
        await client.enter(left_s=1)
        try:
            await aask(spec, recorder)
        finally:
            await client.leave()

    with pytest.raises(dspy.LMTimeoutError):
        run(crowded_out())
    assert not provider.requests
    assert recorder.waited_s > 0.3


def test_slot_is_given_back_after_a_failure(provider: Provider) -> None:
    provider.script(hang(), status(500), reset())
    spec = spec_of(provider, concurrency_limit=1, timeout_s=1, max_retries=0)
    assert [fail(spec)[0].code for _ in range(3)] == [
        ModelErrorCode.TIMEOUT,
        ModelErrorCode.PROVIDER_UNAVAILABLE,
        ModelErrorCode.PROVIDER_UNAVAILABLE,
    ]
    assert run(calls(spec, 2))


def test_every_loop_has_its_own_connections(provider: Provider) -> None:
    spec = spec_of(provider)
    for _ in range(3):
        asyncio.run(calls(spec, 2))
    link = language_model(spec).engine.async_engine.chain[0]
    assert link.lines == 1  # those of closed loops are gone


def test_synchronous_calls_of_many_threads(provider: Provider) -> None:
    spec = spec_of(provider)

    def one(index: int) -> str:
        with execution_context(language_model(spec), adapter("chat")):
            return str(program(question=str(index)).answer)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(one, range(40))) == {"some answer"}
    assert [thread.name for thread in threading.enumerate()].count("model-calls") == 1
