"""The loopback provider keeps the protocol that the other tests and the benchmarks rely on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any, Literal

import dspy
import httpx
import pytest

from tests.provider import Exchange, Provider, garbage, half_body, hang, reset, status, text, tool_calls, trickle, usage


class Triage(dspy.Signature):  # type: ignore[misc]  # dspy ships no types
    """Classify the message."""

    message: str = dspy.InputField()
    intent: Literal["refund (paid)", "login"] = dspy.OutputField()
    urgency: int = dspy.OutputField()
    tags: list[Literal["a", "b"]] = dspy.OutputField()
    details: dict[str, Any] = dspy.OutputField()
    reason: str = dspy.OutputField()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def client(provider: Provider) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=provider.base_url, trust_env=False, timeout=5) as client:
        yield client


def model_of(provider: Provider) -> dspy.LM:
    return dspy.LM(
        "openai/stub", engine="lm15", api_base=provider.base_url, api_key="secret", cache=False, num_retries=0
    )


def ask(client: httpx.Client, **extra: Any) -> httpx.Response:
    return client.post(
        "/chat/completions", json={"model": "stub", "messages": [{"role": "user", "content": "hello"}], **extra}
    )


def content_of(response: httpx.Response) -> str:
    content: str = response.json()["choices"][0]["message"]["content"]
    return content


def test_answers_and_records(provider: Provider, client: httpx.Client) -> None:
    provider.cached_tokens = 1
    provider.answer(lambda body: f"you said {body['messages'][-1]['content']}")
    response = ask(client)
    assert content_of(response) == "you said hello"
    assert response.json()["usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 4,
        "total_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    assert provider.requests[0].body["model"] == "stub"
    assert client.get("/models").json()["data"][0]["id"] == "stub"
    assert client.get("/nothing").status_code == 404
    assert len(provider.requests) == 1


def test_streams_with_usage(provider: Provider, client: httpx.Client) -> None:
    provider.answer("a text that is longer than one chunk")
    lines = ask(client, stream=True, stream_options={"include_usage": True}).text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    pieces = [event["choices"][0]["delta"].get("content", "") for event in events if event["choices"]]
    assert "".join(pieces) == "a text that is longer than one chunk"
    assert len(pieces) > 3
    assert events[-1]["usage"]["total_tokens"] == 2 + 10
    assert "data: [DONE]" in lines
    without = ask(client, stream=True).text
    assert '"usage"' not in without


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter()], ids=["chat", "json"])
def test_gives_every_output_field_of_a_prompt(provider: Provider, adapter: dspy.Adapter) -> None:
    with dspy.context(lm=model_of(provider), adapter=adapter, track_usage=True):
        prediction = dspy.ChainOfThought(Triage)(message="let me in")
    assert prediction.intent == "refund (paid)"
    assert (prediction.urgency, prediction.tags, prediction.reason) == (1, ["a"], "some reason")
    assert prediction.reasoning == "some reasoning"
    assert len(provider.requests) == 1
    assert provider.requests[0].headers["authorization"] == "Bearer secret"
    assert prediction.get_lm_usage()["openai/stub"]["prompt_tokens"] > 100


def test_script_then_normal(provider: Provider, client: httpx.Client) -> None:
    provider.script(
        status(429, retry_after=3600),
        status(401, error_code="invalid_api_key"),
        text("odd"),
        usage(7, 5, cached_tokens=3),
    )
    limited = ask(client)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "3600")
    assert ask(client).json()["error"]["code"] == "invalid_api_key"
    assert content_of(ask(client)) == "odd"
    billed = ask(client).json()["usage"]
    assert (billed["prompt_tokens"], billed["completion_tokens"], billed["prompt_tokens_details"]) == (
        7,
        5,
        {"cached_tokens": 3},
    )
    assert content_of(ask(client)) == "some text"


def test_tool_calls(provider: Provider, client: httpx.Client) -> None:
    provider.script(tool_calls(("search", {"query": "x"})))
    choice = ask(client).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"query": "x"}


def test_garbage_is_no_json(provider: Provider, client: httpx.Client) -> None:
    provider.script(garbage())
    response = ask(client)
    assert response.status_code == 200
    with pytest.raises(UnicodeDecodeError):
        response.json()


def test_broken_connections(provider: Provider, client: httpx.Client) -> None:
    provider.script(half_body(), reset())
    with pytest.raises(httpx.RemoteProtocolError):
        ask(client)
    with pytest.raises(httpx.ReadError):
        ask(client)
    assert content_of(ask(client)) == "some text"


def test_hang_and_trickle_last_until_the_client_gives_up(provider: Provider, client: httpx.Client) -> None:
    provider.script(hang(), trickle(0.05))
    with pytest.raises(httpx.ReadTimeout):
        client.post("/chat/completions", json={}, timeout=0.3)
    with client.stream("POST", "/chat/completions", json={}) as response:
        received = response.iter_raw()
        assert [next(received) for _ in range(3)] == [b" ", b" ", b" "]
    deadline = time.monotonic() + 5
    while provider.in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    assert provider.in_flight == 0


def test_six_hundred_wait_at_once(provider: Provider) -> None:
    async def answer_once_all_wait(exchange: Exchange) -> None:
        while provider.max_in_flight < 600:
            await asyncio.sleep(0.01)
        exchange.complete({"content": "all here"}, "stop")

    async def status_line() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(provider.base_url).port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return line

    async def ask_all() -> list[bytes]:
        return await asyncio.gather(*(status_line() for _ in range(600)))

    provider.script(*[answer_once_all_wait] * 600)
    assert asyncio.run(ask_all()) == [b"HTTP/1.1 200 OK\r\n"] * 600
