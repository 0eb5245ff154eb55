"""What providers tell of one answer, read by the adapters that read it in production, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from dspy._vendor.lm15.providers.anthropic import AnthropicLM
from dspy._vendor.lm15.providers.base import HttpResponse
from dspy._vendor.lm15.providers.gemini import GeminiLM
from dspy.lm15 import ImagePart, Message, Request, Response, TextPart, Usage, response_from_openai_chat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops.runtime.engines.bills import raw_usage_of, unpriced_part, usage_of
from mlops.runtime.recorder import MAX_COST, Recorder
from mlops.runtime.tiers import tier_asked
from mlops.types import Price, TokenUsage

REQUEST = Request(model="m", messages=(Message.user("hi"),))
PRICE = Price("p", input=100, cached_input=10, output=1000, cache_write=125, reasoning=2000, request=7)


def openai(usage: dict[str, Any], **more: Any) -> Response:
    """A chat completion as OpenAI, its imitators and LiteLLM write it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
    return response_from_openai_chat({"id": "1", "model": "m", "choices": [choice], "usage": usage, **more})


def anthropic(usage: dict[str, Any]) -> Response:
    body = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "yes"}], "usage": usage,
    }  # fmt: skip
    return AnthropicLM(api_key="k").parse_response(REQUEST, _answer(body))


def gemini(usage: dict[str, Any]) -> Response:
    candidate = {"content": {"role": "model", "parts": [{"text": "yes"}]}, "finishReason": "STOP"}
    return GeminiLM(api_key="k").parse_response(REQUEST, _answer({"candidates": [candidate], "usageMetadata": usage}))


def _answer(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(200, "OK", [("content-type", "application/json")], json.dumps(body).encode())


OPENAI = openai(
    {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 256, "audio_tokens": 0},
    },
    service_tier="default",
)
ANTHROPIC = anthropic(
    {
        "input_tokens": 21,
        "cache_creation_input_tokens": 188_086,
        "cache_read_input_tokens": 1_000,
        "cache_creation": {"ephemeral_5m_input_tokens": 188_086, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 393,
        "service_tier": "standard",
    }
)
GEMINI = gemini(
    {
        "promptTokenCount": 120,
        "candidatesTokenCount": 40,
        "thoughtsTokenCount": 60,
        "totalTokenCount": 220,
        "cachedContentTokenCount": 100,
        "trafficType": "ON_DEMAND",
    }
)
XAI = openai(
    {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": 135,
        "prompt_tokens_details": {"cached_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 94},
    }
)
DEEPSEEK = openai(
    {
        "prompt_tokens": 500,
        "completion_tokens": 20,
        "prompt_cache_hit_tokens": 448,
        "prompt_tokens_details": {"cached_tokens": 448},
    }
)
LITELLM_ANTHROPIC = openai(  # what LiteLLM makes of an answer of Claude on Bedrock
    {
        "prompt_tokens": 1130,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 1000, "cache_creation_tokens": 100},
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000,
    }
)


@pytest.mark.parametrize(
    ("response", "provider", "counted", "cost"),
    [
        (
            OPENAI,
            "openai-chat",
            TokenUsage(2006, 300, 1920, 256, 0, 1, 2006),
            86 * 100 + 1920 * 10 + 44 * 1000 + 256 * 2000 + 7,
        ),
        (
            ANTHROPIC,
            "anthropic",
            TokenUsage(189_107, 393, 1_000, 0, 188_086, 1, 189_107),
            21 * 100 + 1_000 * 10 + 188_086 * 125 + 393 * 1000 + 7,
        ),
        (
            GEMINI,
            "gemini",
            TokenUsage(120, 100, 100, 60, 0, 1, 120),
            20 * 100 + 100 * 10 + 40 * 1000 + 60 * 2000 + 7,
        ),
        (XAI, "xai", TokenUsage(32, 103, 6, 94, 0, 1, 32), 26 * 100 + 6 * 10 + 9 * 1000 + 94 * 2000 + 7),
        (DEEPSEEK, "deepseek", TokenUsage(500, 20, 448, 0, 0, 1, 500), 52 * 100 + 448 * 10 + 20 * 1000 + 7),
        (
            LITELLM_ANTHROPIC,
            "bedrock",
            TokenUsage(1130, 50, 1000, 0, 100, 1, 1130),
            30 * 100 + 1000 * 10 + 100 * 125 + 50 * 1000 + 7,
        ),
    ],
    ids=["openai", "anthropic", "gemini", "xai", "deepseek", "litellm"],
)
def test_no_token_is_counted_twice(response: Response, provider: str, counted: TokenUsage, cost: int) -> None:
    raw = raw_usage_of(response)
    assert usage_of(response, raw, provider) == counted
    assert unpriced_part(response, raw, tier_asked({})) == ""
    assert PRICE.covers(counted)
    assert PRICE.of(counted) == cost


def test_parts_are_never_more_than_the_whole() -> None:
    told = openai({"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}})
    assert usage_of(told, raw_usage_of(told), "openai-chat") == TokenUsage(3, 5, 3, 0, 0, 1, 3)


def test_lines_without_a_price_of_their_own() -> None:
    plain = Price("p", input=100, cached_input=10, output=1000)
    usage = TokenUsage(input=10, output=6, cached=2, reasoning=4, cache_write=3, requests=1)
    assert plain.of(usage) == 5 * 100 + 2 * 10 + 3 * 100 + 2 * 1000 + 4 * 1000


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (lambda: openai({}), "no usage told"),
        (
            lambda: openai({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"audio_tokens": 5}}),
            "audio",
        ),
        (lambda: openai({"prompt_tokens": 9, "completion_tokens": 1}, service_tier="flex"), "service tier flex"),
        (lambda: anthropic({"input_tokens": 9, "output_tokens": 1, "service_tier": "batch"}), "service tier batch"),
        (
            lambda: anthropic(
                {
                    "input_tokens": 9,
                    "output_tokens": 1,
                    "cache_creation_input_tokens": 5,
                    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 5},
                }
            ),
            "cache write kept for an hour",
        ),
        (
            lambda: anthropic({"input_tokens": 9, "output_tokens": 1, "server_tool_use": {"web_search_requests": 1}}),
            "tools of the provider",
        ),
        (
            lambda: Response(
                id=None,
                model="m",
                message=Message.assistant([TextPart("see"), ImagePart(data="iVBORw0KGgo=")]),
                finish_reason="stop",
                usage=Usage(input_tokens=1, output_tokens=1),
            ),
            "media in the answer",
        ),
    ],
)
def test_what_tokens_do_not_price_is_said(response: Callable[[], Response], reason: str) -> None:
    told = response()
    assert unpriced_part(told, raw_usage_of(told), tier_asked({})) == reason


@pytest.mark.parametrize(
    ("asked", "served", "reason"),
    [
        ("flex", "flex", ""),
        ("flex", "default", "service tier standard"),
        ("auto", "default", ""),
        ("auto", "priority", "service tier priority"),
        ("default", None, ""),
        ("Priority", "priority", ""),
    ],
)
def test_a_price_is_that_of_one_service_tier(asked: str, served: str | None, reason: str) -> None:
    told = openai({"prompt_tokens": 9, "completion_tokens": 1}, service_tier=served)
    assert unpriced_part(told, raw_usage_of(told), tier_asked({"service_tier": asked})) == reason


def test_longer_requests_than_a_row_knows_have_no_price() -> None:
    row = Price("p", 1, 1, 1, input_limit=200_000)
    within = TokenUsage(input=200_000, requests=1, largest_input=200_000)
    beyond = TokenUsage(input=200_001, requests=1, largest_input=200_001)
    assert row.covers(within)
    assert row.covers(within + within)  # two requests, none of them too long
    assert not row.covers(beyond)
    assert not row.covers(within + beyond)


figures = st.integers(0, 10**9)
on_busy_machines = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def usages(draw: st.DrawFn) -> TokenUsage:
    read, written = draw(figures), draw(figures)
    cached = draw(st.integers(0, read))
    return TokenUsage(
        input=read,
        output=written,
        cached=cached,
        reasoning=draw(st.integers(0, written)),
        cache_write=draw(st.integers(0, read - cached)),
        requests=1,
        largest_input=read,
    )


@st.composite
def prices(draw: st.DrawFn) -> Price:
    maybe = st.none() | figures
    return Price(
        "p", draw(figures), draw(figures), draw(figures), cache_write=draw(maybe), reasoning=draw(maybe),
        request=draw(figures),
    )  # fmt: skip


@on_busy_machines
@given(prices(), usages(), usages())
def test_cost_of_a_sum_is_the_sum_of_costs(price: Price, one: TokenUsage, two: TokenUsage) -> None:
    assert price.of(one + two) == price.of(one) + price.of(two)
    assert price.of(one) <= price.at_most(one)
    assert (one + two) - two == TokenUsage.from_json((one + two).as_json()) - two
    assert TokenUsage.from_json(one.as_json()) == one


@on_busy_machines
@given(usages(), figures)
def test_one_price_for_all_lines_is_the_price_of_all_tokens(usage: TokenUsage, figure: int) -> None:
    assert Price("p", figure, figure, figure).of(usage) == usage.total * figure


def test_a_request_that_no_price_covers_leaves_the_others_known() -> None:
    """20 requests of a known cost, and one that is longer than the price holds for."""
    price = Price("p", input=1_000, cached_input=100, output=1_000, input_limit=1_000)
    one = TokenUsage(input=1_000, output=10, requests=1, largest_input=1_000)
    recorder = Recorder()
    for _ in range(20):
        assert recorder.meter("openai/one", one, price) == 1_010_000
    assert (recorder.cost, recorder.known_cost) == (20_200_000, 20_200_000)

    long = TokenUsage(input=1_001, output=10, requests=1, largest_input=1_001)
    assert recorder.meter("openai/one", long, price) is None
    assert recorder.meter("openai/two", one, None) is None
    assert recorder.meter("openai/one", one, price) == 1_010_000

    assert (recorder.cost, recorder.known_cost) == (None, 21_210_000)
    assert recorder.known_costs == {"openai/one": 21_210_000, "openai/two": 0}
    assert recorder.unpriced == {"openai/one": 1, "openai/two": 1}


def test_what_nobody_believes_is_unknown_and_what_was_known_stays() -> None:
    dear = Price("p", input=10**15, cached_input=10**15, output=0)
    recorder = Recorder()
    assert recorder.meter("openai/one", TokenUsage(input=1_000, requests=1), dear) == MAX_COST
    assert recorder.meter("openai/one", TokenUsage(input=1, requests=1), dear) is None
    assert (recorder.cost, recorder.known_cost) == (None, MAX_COST)
