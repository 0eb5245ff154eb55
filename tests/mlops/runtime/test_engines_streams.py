"""Streams: passed through event by event, metered at their end, never repeated once something has been shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import dspy
import orjson
import pytest
from dspy.lm15 import LM15Error, Message, Request

from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import failure_of, language_model
from mlops.runtime.matcher import MODEL
from mlops.runtime.recorder import Recorder, current_recorder, recording, span
from mlops.types import LanguageModelSpec, ModelErrorCode, SpanKind, TokenUsage
from tests.mlops.runtime.calling import llm_span, program, run, spec_of
from tests.provider import Behaviour, Exchange, Provider, hang, status, usage

Streaming = Callable[[LanguageModelSpec, Recorder], list[Any]]


def request(name: str = "openai/stub") -> Request:
    return Request(model=name, messages=(Message.user("why?"),))


def stream(spec: LanguageModelSpec, recorder: Recorder) -> list[Any]:
    async def read() -> list[Any]:
        with recording(recorder):
            return [event async for event in language_model(spec).engine.async_engine.stream(request(spec.name))]

    return run(read())


def stream_synchronously(spec: LanguageModelSpec, recorder: Recorder) -> list[Any]:
    with recording(recorder):
        return list(language_model(spec).engine.stream(request(spec.name)))


def text_of(events: list[Any]) -> str:
    return "".join(event.delta.text for event in events if event.type == "delta")


async def breaks_off(exchange: Exchange) -> None:
    """Shows one word, then ends without a completion."""
    chunk = {"id": "x", "model": "stub", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "be"}}]}
    body = b"data: " + orjson.dumps(chunk) + b"\n\n"
    exchange.send(200, body, {"content-type": "text/event-stream"})


def tells(error: dict[str, Any]) -> Behaviour:
    """Answers 200, and then tells an error instead of an answer."""

    async def behave(exchange: Exchange) -> None:
        body = b"data: " + orjson.dumps({"error": error}) + b"\n\n"
        exchange.send(200, body, {"content-type": "text/event-stream"})

    return behave


async def names_no_tool(exchange: Exchange) -> None:
    """Completes and bills a call of a tool without a name, which is no answer."""
    call = {"index": 0, "id": "c", "function": {"arguments": "{}"}}
    billed = {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52}
    chunks = [
        {"id": "x", "model": "stub", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]},
        {"id": "x", "model": "stub", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {"id": "x", "model": "stub", "choices": [], "usage": billed},
    ]
    body = b"".join(b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
    exchange.send(200, body, {"content-type": "text/event-stream"})


async def falls_silent(exchange: Exchange) -> None:
    chunk = {"id": "x", "model": "stub", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "be"}}]}
    body = b"data: " + orjson.dumps(chunk) + b"\n\n"
    exchange.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n" + body)
    await asyncio.Event().wait()


@pytest.mark.parametrize("streaming", [stream, stream_synchronously])
def test_events_pass_and_are_metered_at_the_end(provider: Provider, streaming: Streaming) -> None:
    provider.answer("because of many things")
    provider.script(usage(30, 9, cached_tokens=10))
    recorder = Recorder()
    events = streaming(spec_of(provider), recorder)
    assert (events[0].type, events[-1].type, text_of(events)) == ("start", "end", "because of many things")
    recorded = llm_span(recorder)
    assert recorded.output == "because of many things"
    assert recorded.cost == 20 * 3 + 10 + 9 * 10
    assert recorded.duration_ms is not None
    assert recorder.waited_s > 0


@pytest.mark.parametrize("streaming", [stream, stream_synchronously])
def test_faults_before_the_first_event_are_retried_and_handed_on(
    provider: Provider, backup: Provider, streaming: Streaming
) -> None:
    provider.script(status(500), status(401))
    spec = spec_of(provider, fallbacks=(spec_of(backup, "openai/spare"),))
    recorder = Recorder()
    assert streaming(spec, recorder)
    recorded = llm_span(recorder)
    assert (recorded.retries, recorded.fallback, recorded.error) == (1, "openai/spare", "")
    assert [attempt["code"] for attempt in recorded.attributes["attempts"]] == [
        "provider_unavailable",
        "authentication",
    ]


@pytest.mark.parametrize("streaming", [stream, stream_synchronously])
@pytest.mark.parametrize(
    ("fault", "code"),
    [(breaks_off, ModelErrorCode.PROVIDER_UNAVAILABLE), (falls_silent, ModelErrorCode.TIMEOUT)],
    ids=["breaks off", "falls silent"],
)
def test_nothing_is_repeated_after_the_first_event(
    provider: Provider, backup: Provider, streaming: Streaming, fault: Any, code: ModelErrorCode
) -> None:
    provider.script(fault)
    recorder = Recorder()
    with pytest.raises(LM15Error) as caught:
        streaming(spec_of(provider, timeout_s=1, fallbacks=(spec_of(backup, "openai/spare"),)), recorder)
    assert failure_of(caught.value).code is code
    assert (len(provider.requests), len(backup.requests)) == (1, 0)
    assert llm_span(recorder).error.startswith(code)


@pytest.mark.parametrize("streaming", [stream, stream_synchronously])
@pytest.mark.parametrize(
    ("told", "code", "message", "attempts"),
    [
        ({"message": "overloaded"}, "provider_unavailable", "The provider failed: overloaded", 2),
        ({"message": "overloaded", "code": 503}, "provider_unavailable", "The provider failed: overloaded", 2),
        ({"message": "slowly", "code": 429}, "rate_limited", "The provider limits the rate of calls.", 2),
        ({"message": "no such key", "code": 401}, "authentication", "The provider refused the credentials.", 1),
        (
            {"message": "no such tool", "code": 400},
            "invalid_request",
            "The provider refused the request: no such tool",
            1,
        ),
        (
            {"message": "of: why?"},
            "provider_unavailable",
            "The provider gave an answer that is not one of its protocol.",
            2,
        ),
    ],
    ids=["without a code", "an outage", "a rate", "a secret", "a refusal", "quoting the prompt"],
)
def test_an_error_within_a_stream_is_of_the_kind_that_the_provider_names(
    provider: Provider, streaming: Streaming, told: dict[str, Any], code: str, message: str, attempts: int
) -> None:
    provider.script(*[tells(told)] * attempts)
    with pytest.raises(LM15Error) as refusal:
        streaming(spec_of(provider, max_retries=1), Recorder())
    failure = failure_of(refusal.value)
    assert (failure.code.value, failure.message) == (code, message)
    assert len(provider.requests) == attempts


@pytest.mark.parametrize("streaming", [stream, stream_synchronously])
def test_failed_answer_that_was_billed_is_counted_once(provider: Provider, streaming: Streaming) -> None:
    provider.script(names_no_tool)
    recorder = Recorder()
    with pytest.raises(LM15Error) as caught:
        streaming(spec_of(provider), recorder)
    assert failure_of(caught.value).code is ModelErrorCode.PROVIDER_UNAVAILABLE
    assert recorder.usage == TokenUsage(50, 2, requests=1, largest_input=50)
    assert recorder.cost == llm_span(recorder).cost == 50 * 3 + 2 * 10


def test_dspy_streams_through_the_engine(provider: Provider) -> None:
    recorder = Recorder()

    async def read() -> tuple[list[str], Any]:
        with recording(recorder), execution_context(language_model(spec_of(provider)), adapter("chat")):
            listener = dspy.streaming.StreamListener("answer")
            streamed = dspy.streamify(program, stream_listeners=[listener], is_async_program=True)
            items = [item async for item in streamed(question="why?")]
        return [item.chunk for item in items[:-1]], items[-1]

    chunks, prediction = run(read())
    assert "".join(chunks).strip() == prediction.answer == "some answer"
    assert recorder.usage.total == llm_span(recorder).usage.total > 0  # type: ignore[union-attr]


def test_reader_who_leaves_closes_the_connection(provider: Provider) -> None:
    provider.script(falls_silent)
    recorder = Recorder()

    async def left() -> None:
        with recording(recorder):
            events = language_model(spec_of(provider)).engine.async_engine.stream(request())
            assert (await anext(events)).type == "start"
            await events.aclose()
        while provider.in_flight:
            await asyncio.sleep(0.01)

    run(left())
    assert llm_span(recorder).error == "GeneratorExit"


def test_synchronous_reader_who_leaves_closes_the_connection(provider: Provider) -> None:
    provider.script(falls_silent)
    events = language_model(spec_of(provider)).engine.stream(request())
    assert next(events).type == "start"
    events.close()

    async def closed() -> None:
        while provider.in_flight:
            await asyncio.sleep(0.01)

    run(closed())


def test_reader_keeps_its_own_context_between_events(provider: Provider) -> None:
    """A span that the reader opens is no child of the stream's, and other tasks may close the stream."""
    recorder = Recorder()

    async def read() -> None:
        with recording(recorder):
            events = language_model(spec_of(provider)).engine.async_engine.stream(request())
            await anext(events)
            with span(SpanKind.MODULE, "reader"):
                assert current_recorder() is recorder
            await asyncio.create_task(events.aclose())

    run(read())
    assert [(one.name, one.parent) for one in recorder.spans] == [("openai/stub", None), ("reader", None)]


def test_slot_is_held_until_the_end_and_then_given_back(provider: Provider) -> None:
    spec = spec_of(provider, concurrency_limit=1, timeout_s=1, max_retries=0)
    provider.script(hang())
    with pytest.raises(LM15Error):
        stream(spec, Recorder())
    for _ in range(2):
        assert stream(spec, Recorder())


@pytest.mark.parametrize("streaming", [stream, stream_synchronously])
def test_matcher_streams_its_refusal_as_an_error(streaming: Streaming) -> None:
    recorder = Recorder()
    with pytest.raises(LM15Error) as caught:
        streaming(LanguageModelSpec(id="m", name=MODEL), recorder)
    assert failure_of(caught.value).code is ModelErrorCode.INVALID_REQUEST
    assert llm_span(recorder).error.startswith("invalid_request")
