"""Texts as vectors: batched, of length 1, metered, and every fault of a provider told as it is for chat."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from mlops.runtime.embeddings import (
    MAX_CHARACTERS,
    MAX_TEXTS,
    Embedded,
    aclose_embedding_models,
    aembed,
    batches,
    embed,
)
from mlops.runtime.engines import ModelRefused, failure_of
from mlops.runtime.recorder import Recorder, recording
from mlops.types import LanguageModelKind, LanguageModelSpec, ModelErrorCode, SpanKind, TokenUsage
from tests.mlops.runtime.calling import SECRET, llm_span, run
from tests.mlops.runtime.calling import spec_of as chat_spec_of
from tests.provider import Provider, garbage, half_body, hang, reset, status, trickle, vectors
from tests.provider.answers import vector_of

Code = ModelErrorCode
FOUR = TokenUsage(input=4, requests=1, largest_input=4)


def spec_of(provider: Provider, name: str = "openai/vectors", **changes: Any) -> LanguageModelSpec:
    return chat_spec_of(provider, name, **{"kind": LanguageModelKind.EMBEDDING, **changes})


async def _aembed(spec: LanguageModelSpec, texts: list[str], recorder: Recorder) -> Embedded:
    try:
        with recording(recorder):
            return await aembed(spec, texts)
    finally:
        await aclose_embedding_models()


def ask(spec: LanguageModelSpec, *texts: str) -> tuple[Embedded, Recorder]:
    recorder = Recorder()
    return run(_aembed(spec, list(texts), recorder)), recorder


def fail(spec: LanguageModelSpec, *texts: str) -> tuple[Any, Recorder]:
    recorder = Recorder()
    with pytest.raises(Exception) as caught:  # noqa: PT011  # what it is, `failure_of` says
        run(_aembed(spec, list(texts), recorder))
    assert SECRET not in repr(caught.value)
    return failure_of(caught.value), recorder


def test_vectors_stand_in_the_order_of_the_texts_and_have_length_one(provider: Provider) -> None:
    texts = ["a card", "a card that is lost", "transfer"]
    embedded, _ = ask(spec_of(provider), *texts)
    expected = np.array([vector_of(text) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert embedded.vectors.dtype == np.float32
    assert np.allclose(embedded.vectors, expected, atol=1e-6)
    (request,) = provider.requests
    assert request.body == {"model": "vectors", "input": texts, "encoding_format": "float"}
    assert request.headers["authorization"] == f"Bearer {SECRET}"


def test_usage_and_cost_are_in_the_span_and_in_the_recorder(provider: Provider) -> None:
    embedded, recorder = ask(spec_of(provider), "a card", "transfer")
    step = llm_span(recorder)
    assert (step.kind, step.name, step.model) == (SpanKind.EMBEDDING, "openai/vectors", "openai/vectors")
    assert (embedded.usage, embedded.cost) == (FOUR, 12)
    assert (step.usage, step.cost, step.error, step.retries) == (FOUR, 12, "", 0)
    assert (recorder.cost, recorder.by_model) == (12, {"openai/vectors": FOUR})
    assert step.as_json()["dimensions"] == 32
    assert list(recorder.models) == ["openai/vectors"]


def test_without_a_price_the_cost_is_unknown_and_not_nothing(provider: Provider) -> None:
    embedded, recorder = ask(spec_of(provider, price=None), "a card")
    assert (embedded.cost, recorder.cost, llm_span(recorder).as_json()["cost"]) == (None, None, None)
    provider.script(vectors([1.0, 0.0], usage={}))
    embedded, recorder = ask(spec_of(provider), "a card")
    assert (embedded.usage, embedded.cost, recorder.cost) == (TokenUsage(requests=1, unpriced=1), None, None)


def test_many_texts_are_several_requests_and_one_answer(provider: Provider) -> None:
    texts = [f"text number {number}" for number in range(2 * MAX_TEXTS + 1)]
    embedded, recorder = ask(spec_of(provider), *texts)
    assert [len(request.body["input"]) for request in provider.requests] == [MAX_TEXTS, MAX_TEXTS, 1]
    assert embedded.vectors.shape == (len(texts), 32)
    last, _ = ask(spec_of(provider), texts[-1])
    assert np.array_equal(embedded.vectors[-1], last.vectors[0])
    told = [step.usage or TokenUsage() for step in recorder.spans]
    assert recorder.usage == embedded.usage == sum(told, TokenUsage())
    assert embedded.cost == recorder.cost == 3 * embedded.usage.input


def test_requests_are_bounded_by_characters_too() -> None:
    half = "x" * (MAX_CHARACTERS // 2)
    assert [len(batch) for batch in batches([half, half, "y", "z" * (2 * MAX_CHARACTERS), "w"])] == [2, 1, 1, 1]


def test_no_texts_need_no_request_and_an_empty_one_is_a_blank(provider: Provider) -> None:
    embedded, _ = ask(spec_of(provider))
    assert (embedded.vectors.shape, embedded.usage, embedded.cost) == ((0, 0), TokenUsage(), 0)
    assert provider.requests == []
    embedded, _ = ask(spec_of(provider), "")
    assert provider.requests[0].body["input"] == [" "]
    assert not embedded.vectors.any()


def test_dimensions_are_asked_for_and_other_parameters_are_not(provider: Provider) -> None:
    embedded, recorder = ask(spec_of(provider, parameters={"dimensions": 8, "temperature": 0.5}), "a card")
    assert embedded.vectors.shape == (1, 8)
    assert (provider.requests[0].body["dimensions"], "temperature" in provider.requests[0].body) == (8, False)
    assert recorder.models["openai/vectors"]["parameters"] == {"dimensions": 8}


def test_the_synchronous_form_is_recorded_alike(provider: Provider) -> None:
    recorder = Recorder()
    with recording(recorder):
        embedded = embed(spec_of(provider), ["a card"])
    assert embedded.vectors.shape == (1, 32)
    assert (llm_span(recorder).kind, recorder.cost) == (SpanKind.EMBEDDING, embedded.cost)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (status(500), Code.PROVIDER_UNAVAILABLE),
        (status(429, retry_after=0.1), Code.RATE_LIMITED),
        (garbage(), Code.PROVIDER_UNAVAILABLE),
        (half_body(), Code.PROVIDER_UNAVAILABLE),
        (reset(), Code.PROVIDER_UNAVAILABLE),
        (vectors(), Code.PROVIDER_UNAVAILABLE),
    ],
    ids=["500", "429 soon", "garbage", "half body", "reset", "no vectors"],
)
def test_passing_fault_is_retried(provider: Provider, fault: Any, code: Code) -> None:
    provider.script(fault)
    embedded, recorder = ask(spec_of(provider), "a card")
    assert embedded.vectors.shape == (1, 32)
    assert [attempt["code"] for attempt in llm_span(recorder).attributes["attempts"]] == [code]
    assert (llm_span(recorder).retries, llm_span(recorder).error, len(provider.requests)) == (1, "", 2)


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (status(401), Code.AUTHENTICATION, "The provider refused the credentials (HTTP 401)."),
        (status(400, message=f"key {SECRET} is bad"), Code.INVALID_REQUEST, "key [hidden] is bad"),
        (status(400, error_code="context_length_exceeded"), Code.CONTEXT_WINDOW, "longer than the model's context"),
        (status(429, retry_after=3600), Code.RATE_LIMITED, "It asks to wait 3600 s."),
    ],
)
def test_lasting_fault_is_told_without_the_secret(provider: Provider, fault: Any, code: Code, message: str) -> None:
    provider.script(fault)
    failure, recorder = fail(spec_of(provider), "a card")
    assert (failure.code, failure.model, len(provider.requests)) == (code, "openai/vectors", 1)
    assert message in failure.message
    assert SECRET not in str(recorder.trace())
    assert recorder.cost == 0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (vectors([1.0], [2.0]), "The provider gave 2 vectors for 1 texts."),
        (vectors([]), "vectors of different lengths, or no numbers"),
        (vectors(None), "vectors of different lengths, or no numbers"),
        (vectors("AAAA"), "vectors of different lengths, or no numbers"),
        (vectors([1.0, None]), "numbers that are none"),
        (vectors([1.0, 1e300]), "numbers that are none"),
        (garbage(), "not JSON"),
    ],
)
def test_an_answer_that_is_not_one_vector_per_text_is_named_and_billed(
    provider: Provider, answer: Any, message: str
) -> None:
    provider.script(answer)
    failure, recorder = fail(spec_of(provider, max_retries=0), "a card")
    assert failure.code == Code.PROVIDER_UNAVAILABLE
    assert message in failure.message
    assert recorder.usage.input == (0 if "JSON" in message else 2)


def test_vectors_of_one_request_have_one_length(provider: Provider) -> None:
    provider.script(vectors([1.0, 2.0], [1.0]))
    failure, _ = fail(spec_of(provider, max_retries=0), "a card", "transfer")
    assert "different lengths" in failure.message


def test_vectors_of_two_requests_have_one_length(provider: Provider) -> None:
    provider.script(vectors(*[[1.0, 2.0]] * MAX_TEXTS))
    failure, recorder = fail(spec_of(provider), *["text"] * (MAX_TEXTS + 1))
    assert failure.message == "The vectors of two requests have different lengths."
    assert len(recorder.spans) == 2


@pytest.mark.parametrize("silence", [hang, trickle])
def test_an_attempt_ends_when_its_time_is_over(provider: Provider, silence: Any) -> None:
    provider.script(silence(), silence())
    failure, recorder = fail(spec_of(provider, timeout_s=0.8, max_retries=1), "a card")
    assert (failure.code, failure.message) == (Code.TIMEOUT, "No answer within 0.8 s.")
    assert len(provider.requests) == 2
    assert recorder.waited_s < 5


def test_the_deadline_bounds_all_attempts(provider: Provider) -> None:
    provider.script(*[hang()] * 5)
    failure, recorder = fail(spec_of(provider, timeout_s=5.0, deadline_s=0.3, max_retries=5), "a card")
    assert failure.code == Code.TIMEOUT
    assert recorder.waited_s < 2


def test_what_is_no_embedding_model_is_refused_before_anything_is_sent(provider: Provider) -> None:
    with pytest.raises(ModelRefused, match="A chat model cannot be asked for vectors"):
        embed(chat_spec_of(provider), ["a card"])
    with pytest.raises(ModelRefused, match="There is no built-in model called builtin/vectors"):
        embed(spec_of(provider, "builtin/vectors"), ["a card"])
    assert provider.requests == []


def test_a_model_without_a_secret_says_so() -> None:
    failure = failure_of(_raised_by(LanguageModelSpec(id="1", name="openai/x", kind=LanguageModelKind.EMBEDDING)))
    assert (failure.code, failure.message) == (Code.AUTHENTICATION, "No secret is set for this model.")


def _raised_by(spec: LanguageModelSpec) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # what it is, `failure_of` says
        embed(spec, ["a card"])
    return caught.value


def test_other_providers_are_asked_through_litellm(provider: Provider) -> None:
    embedded, recorder = ask(spec_of(provider, "openai_like/vectors", timeout_s=30.0, deadline_s=60.0), "a card")
    assert embedded.vectors.shape == (1, 32)
    assert (provider.requests[0].body["model"], recorder.cost) == ("vectors", 6)
    provider.script(status(401))
    failure, _ = fail(spec_of(provider, "openai_like/vectors", timeout_s=30.0, deadline_s=60.0), "a card")
    assert failure.code == Code.AUTHENTICATION


def test_the_concurrency_limit_holds(provider: Provider) -> None:
    async def three() -> None:
        spec = spec_of(provider, concurrency_limit=1)
        await asyncio.gather(*(aembed(spec, [f"text {number}"]) for number in range(3)))
        await aclose_embedding_models()

    provider.latency_s = 0.05
    run(three())
    assert (len(provider.requests), provider.max_in_flight) == (3, 1)
