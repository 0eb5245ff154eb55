"""A secret that the provider puts into its answer comes out nowhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from executions.runtime.run import HELD_BACK, run
from executions.types import RunResult
from mlops.runtime.engines import language_model
from programs.runtime.build import build
from programs.runtime.ports import Ports
from tests.fakes import fields
from tests.mlops.runtime.calling import SECRET, spec_of
from tests.programs.runtime.specs import module, program
from tests.provider import Provider, text
from tests.provider.server import Exchange

ECHO = build(program(module("answer", "question -> answer", "chain_of_thought")), Ports())


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def result_from(provider: Provider) -> RunResult:
    spec = spec_of(provider)

    async def once() -> RunResult:
        lm = language_model(spec)
        try:
            return await run(
                ECHO, {"question": "why"}, models={"": spec}, deadline_s=20, language_model_of=lambda _spec: lm
            )
        finally:
            await lm.engine.async_engine.aclose()

    return asyncio.run(once())


def shown(result: RunResult) -> str:
    return json.dumps([result.output, dict(result.trace), str(result.error)], default=str)


@pytest.mark.parametrize(
    "answer", [fields(reasoning="because", answer=f"you sent Bearer {SECRET}"), f"not fields, but Bearer {SECRET}"]
)
def test_a_secret_in_an_answer_is_hidden(provider: Provider, answer: str) -> None:
    provider.script(text(answer), text(answer))
    result = result_from(provider)
    assert SECRET not in shown(result)
    assert "Bearer [hidden]" in shown(result)
    assert HELD_BACK in result.flags


def test_a_secret_in_what_a_provider_tells_of_usage_is_hidden(provider: Provider) -> None:
    async def behave(exchange: Exchange) -> None:
        content = fields(reasoning="because", answer="so")
        told = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "note": f"Bearer {SECRET}"}
        exchange.complete({"content": content}, "stop", told)

    provider.script(behave)
    result = result_from(provider)
    assert SECRET not in shown(result)
    assert HELD_BACK in result.flags


def test_an_answer_without_a_secret_is_left_as_it_is(provider: Provider) -> None:
    provider.script(text(fields(reasoning="because", answer="[hidden] is a word")))
    result = result_from(provider)
    assert result.output == {"answer": "[hidden] is a word"}
    assert result.flags == ()
