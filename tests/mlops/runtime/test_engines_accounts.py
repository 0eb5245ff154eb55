"""What a call leaves behind: its span, usage, cost, model; and no secret anywhere."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import dspy
import pytest
from dspy.lm15 import ImagePart, Message, Request, Response, TextPart, ThinkingPart, ToolCallPart, Usage

from mlops.runtime.context import execution_context
from mlops.runtime.engines import language_model
from mlops.runtime.engines.accounts import messages_of, output_of
from mlops.runtime.engines.bills import raw_usage_of
from mlops.runtime.recorder import Recorder, recording
from mlops.types import LanguageModelSpec, Price, SpanKind, TokenUsage
from tests.mlops.runtime.calling import SECRET, aask, ask, ask_synchronously, fail, llm_span, run, spec_of
from tests.provider import Provider, status, tool_calls, usage

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("asking", [ask, ask_synchronously])
def test_span_tells_the_whole_call(
    provider: Provider, asking: Callable[[LanguageModelSpec, str], tuple[Any, Recorder]]
) -> None:
    provider.script(usage(100, 20, cached_tokens=40, reasoning_tokens=5))
    prediction, recorder = asking(spec_of(provider, parameters={"temperature": 0.5, "max_tokens": 99}), "why is it?")
    span = llm_span(recorder)
    assert prediction.answer == "some answer"
    assert (span.kind, span.name, span.model, span.error) == (SpanKind.LLM, "openai/stub", "openai/stub", "")
    assert span.messages is not None
    assert [message["role"] for message in span.messages] == ["system", "user"]
    assert "why is it?" in span.messages[1]["text"]
    assert "[[ ## answer ## ]]\nsome answer" in span.output
    assert span.usage == TokenUsage(input=100, output=20, cached=40, reasoning=5, requests=1, largest_input=100)
    assert span.raw_usage is not None
    assert span.raw_usage["prompt_tokens_details"] == {"cached_tokens": 40}
    assert span.cost == 60 * 3 + 40 * 1 + 20 * 10
    assert recorder.cost == span.cost
    assert recorder.by_model == {"openai/stub": span.usage}
    assert list(recorder.prices) == ["price of openai/stub"]
    assert recorder.models == {
        "openai/stub": {"parameters": {"temperature": 0.5, "max_tokens": 99}, "api_base": "127.0.0.1"}
    }
    sent = provider.requests[0].body
    assert (sent["model"], sent["temperature"], sent["max_completion_tokens"]) == ("stub", 0.5, 99)
    assert 0 < recorder.waited_s * 1000 <= recorder.now_ms()


def test_unknown_price_is_an_unknown_cost(provider: Provider) -> None:
    _, recorder = ask(spec_of(provider, price=None))
    assert llm_span(recorder).cost is None
    assert recorder.cost is None
    assert recorder.usage.total > 0


def test_usage_that_is_not_told_is_an_unknown_cost(provider: Provider) -> None:
    async def tells_nothing(exchange: Any) -> None:
        text = "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"
        exchange.complete({"content": text}, "stop", {"prompt_tokens": None})

    provider.script(tells_nothing)
    _, recorder = ask(spec_of(provider))
    assert llm_span(recorder).usage == TokenUsage(requests=1, unpriced=1)
    assert llm_span(recorder).attributes["unpriced"] == "no usage told"
    assert recorder.cost is None


def test_price_of_nothing_is_known(provider: Provider) -> None:
    _, recorder = ask(spec_of(provider, price=Price("free", 0, 0, 0)))
    assert recorder.cost == 0


def test_several_calls_add_up(provider: Provider) -> None:
    provider.script(usage(10, 1), usage(20, 2, cached_tokens=20))
    spec, recorder = spec_of(provider), Recorder()

    async def twice() -> None:
        await asyncio.gather(aask(spec, recorder), aask(spec, recorder))

    run(twice())
    assert recorder.usage == TokenUsage(30, 3, 20, requests=2, largest_input=20)
    assert recorder.cost == 10 * 3 + 1 * 10 + 20 * 1 + 2 * 10


def test_tool_calls_are_kept(provider: Provider) -> None:
    provider.script(tool_calls(("search", {"query": "x"})))
    engine = language_model(spec_of(provider)).engine
    recorder = Recorder()
    with recording(recorder):
        engine.complete(Request(model="openai/stub", messages=(Message.user("find x"),)))
    assert llm_span(recorder).output == {"text": "", "tool_calls": [{"name": "search", "arguments": {"query": "x"}}]}
    assert llm_span(recorder).attributes["finish_reason"] == "tool_call"


def test_media_are_told_in_a_few_words() -> None:
    request = Request(
        model="any", system="Look.", messages=(Message.user([TextPart("What is it?"), ImagePart(data=PIXEL)]),)
    )
    assert messages_of(request) == [
        {"role": "system", "text": "Look."},
        {"role": "user", "text": "What is it?\n[image image/png, 70 bytes]"},
    ]


def test_answers_of_several_parts() -> None:
    message = Message.assistant(
        [ThinkingPart("hm"), TextPart("yes"), ToolCallPart(id="1", name="look", input={"a": 1})]
    )
    assert output_of(message) == {
        "text": "yes",
        "reasoning": "hm",
        "tool_calls": [{"name": "look", "arguments": {"a": 1}}],
    }


def test_raw_usage_without_an_original() -> None:
    response = Response(
        id=None, model="m", message=Message.assistant("a"), finish_reason="stop", usage=Usage(input_tokens=1)
    )
    assert raw_usage_of(response) == {"input_tokens": 1}


def test_secret_is_shown_nowhere(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("dspy").addHandler(caplog.handler)
    with_user = provider.base_url.replace("http://", f"http://{SECRET}@")
    echoing = status(400, message=f"bad key {SECRET} at http://me:{SECRET}@gateway/v1 for your request")
    provider.script(echoing, status(401, message=f"Incorrect API key provided: {SECRET}"))
    spec = spec_of(provider, parameters={"user": f"u-{SECRET}"})
    assert SECRET not in repr(spec_of(provider))
    for _ in range(2):
        failure, recorder, error = fail(spec)
        shown = [failure.message, str(error), repr(error), json.dumps(recorder.trace()), json.dumps(recorder.models)]
        shown += [str(error.__cause__), repr(error.__cause__), str(error.__context__)]
        assert not [text for text in shown if SECRET in text]
    lm = language_model(spec_of(provider, api_base=with_user))
    with execution_context(lm, dspy.ChatAdapter()):
        assert SECRET not in repr(lm) + repr(lm.__dict__) + repr(vars(lm.engine))
    assert SECRET not in caplog.text
    assert provider.requests[0].headers["authorization"] == f"Bearer {SECRET}"


def test_refusal_is_told_but_not_the_prompt(provider: Provider) -> None:
    provider.script(status(400, message="max_tokens is too large: 9999999"))
    failure, _, _ = fail(spec_of(provider))
    assert failure.message == "The provider refused the request: max_tokens is too large: 9999999"
    question = "my diagnosis is a private matter of mine"
    provider.script(status(400, message=f"cannot moderate: '{question}'"))
    failure, recorder, error = fail(spec_of(provider), question)
    assert failure.message == "The provider refused the request (HTTP 400)."
    assert "diagnosis" not in str(error) + llm_span(recorder).error
