"""Every fault of a provider: retried, waited for, handed to the fallback, or reported, and never later than due."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import dspy
import pytest

from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import failure_of, language_model
from mlops.runtime.recorder import Recorder
from mlops.types import LanguageModelSpec, ModelErrorCode, ModelFailure
from tests.mlops.runtime.calling import aask, ask, ask_synchronously, fail, llm_span, run, spec_of
from tests.provider import Provider, garbage, half_body, hang, reset, status, text, trickle

Code = ModelErrorCode


def codes_of(recorder: Recorder) -> list[str]:
    return [attempt["code"] for attempt in llm_span(recorder).attributes.get("attempts", [])]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (status(500), Code.PROVIDER_UNAVAILABLE),
        (status(503), Code.PROVIDER_UNAVAILABLE),
        (status(429), Code.RATE_LIMITED),
        (status(429, retry_after=0.1), Code.RATE_LIMITED),
        (status(408), Code.TIMEOUT),
        (garbage(), Code.PROVIDER_UNAVAILABLE),
        (half_body(), Code.PROVIDER_UNAVAILABLE),
        (reset(), Code.PROVIDER_UNAVAILABLE),
    ],
    ids=["500", "503", "429", "429 soon", "408", "garbage", "half body", "reset"],
)
def test_passing_fault_is_retried(provider: Provider, fault: Any, code: Code) -> None:
    provider.script(fault)
    prediction, recorder = ask(spec_of(provider))
    assert prediction.answer == "some answer"
    assert codes_of(recorder) == [code]
    assert (llm_span(recorder).retries, llm_span(recorder).fallback, llm_span(recorder).error) == (1, "", "")
    assert recorder.usage.total == llm_span(recorder).usage.total > 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (status(401), Code.AUTHENTICATION),
        (status(403), Code.AUTHENTICATION),
        (status(402), Code.AUTHENTICATION),
        (status(429, error_code="insufficient_quota"), Code.AUTHENTICATION),
        (status(400), Code.INVALID_REQUEST),
        (status(404, error_code="model_not_found"), Code.INVALID_REQUEST),
        (status(400, error_code="context_length_exceeded"), Code.CONTEXT_WINDOW),
        (status(429, retry_after=3600), Code.RATE_LIMITED),
    ],
)
def test_lasting_fault_is_not_retried(provider: Provider, fault: Any, code: Code) -> None:
    provider.script(fault)
    failure, recorder, error = fail(spec_of(provider))
    assert (failure.code, failure.model) == (code, "openai/stub")
    assert codes_of(recorder) == [code]
    assert len(provider.requests) == 1
    assert llm_span(recorder).error == f"{code}: {failure.message}"
    assert isinstance(error, dspy.LMError)
    assert recorder.cost == 0


def test_long_wait_is_told_and_not_waited_for(provider: Provider) -> None:
    provider.script(status(429, retry_after=3600))
    failure, _, _ = fail(spec_of(provider))
    assert failure.retry_after_s == 3600
    assert failure.message == "The provider limits the rate of calls (HTTP 429). It asks to wait 3600 s."


@pytest.mark.parametrize(
    "fault",
    [
        status(401),
        status(429, retry_after=3600),
        status(400, error_code="context_length_exceeded"),
        status(500),
        garbage(),
        half_body(),
        reset(),
        hang(),
        trickle(0.01),
    ],
    ids=["401", "429", "context", "500", "garbage", "half body", "reset", "hang", "trickle"],
)
def test_fallback_stands_in(provider: Provider, backup: Provider, fault: Any) -> None:
    provider.script(fault)
    spare = spec_of(backup, "openai/spare")
    prediction, recorder = ask(spec_of(provider, max_retries=0, timeout_s=0.2, fallbacks=(spare,)))
    span = llm_span(recorder)
    assert prediction.answer == "some answer"
    assert (span.name, span.model, span.fallback, span.retries) == ("openai/stub", "openai/spare", "openai/spare", 0)
    assert backup.requests[0].body["model"] == "spare"
    assert list(recorder.by_model) == ["openai/spare"]
    assert list(recorder.prices) == ["price of openai/spare"]


def test_refused_request_has_no_fallback(provider: Provider, backup: Provider) -> None:
    provider.script(status(400))
    failure, _, _ = fail(spec_of(provider, fallbacks=(spec_of(backup, "openai/spare"),)))
    assert failure.code is Code.INVALID_REQUEST
    assert not backup.requests


def test_fallback_is_asked_under_its_own_parameters(provider: Provider, backup: Provider) -> None:
    spare = spec_of(backup, "openai/spare", parameters={"max_tokens": 5, "seed": 1})
    provider.script(status(401))
    ask(spec_of(provider, parameters={"temperature": 0.9, "max_tokens": 100}, fallbacks=(spare,)))
    sent = backup.requests[0].body
    assert (sent["max_completion_tokens"], sent["seed"], "temperature" in sent) == (5, 1, False)


def test_what_a_call_sets_itself_holds_for_the_fallback_too(provider: Provider, backup: Provider) -> None:
    spare = spec_of(backup, "openai/spare", parameters={"temperature": 0.1})
    spec = spec_of(provider, parameters={"temperature": 0.9}, fallbacks=(spare,))
    provider.script(status(401))
    with execution_context(language_model(spec), adapter("chat")):
        dspy.Predict("question -> answer", temperature=0.4)(question="why?")
    assert backup.requests[0].body["temperature"] == 0.4


@pytest.mark.parametrize("asking", [ask, ask_synchronously])
@pytest.mark.parametrize("fault", [trickle(0.05), hang()], ids=["trickle", "hang"])
def test_attempt_ends_as_a_whole(provider: Provider, fault: Any, asking: Any) -> None:
    """A server that never falls silent and never finishes ends by the attempt's limit, in both kinds of call."""
    provider.script(fault)
    with pytest.raises(dspy.LMTimeoutError) as caught:
        asking(spec_of(provider, timeout_s=0.3, max_retries=0))
    assert failure_of(caught.value) == ModelFailure(Code.TIMEOUT, "No answer within 0.3 s.", "openai/stub")


def test_deadline_bounds_attempts_and_fallbacks_together(provider: Provider, backup: Provider) -> None:
    provider.script(*[trickle(0.05)] * 9)
    backup.script(*[hang()] * 9)
    spare = spec_of(backup, "openai/spare", timeout_s=60)
    failure, recorder, _ = fail(spec_of(provider, timeout_s=0.25, deadline_s=0.9, max_retries=1, fallbacks=(spare,)))
    assert set(codes_of(recorder)) == {"timeout"}
    limit = re.fullmatch(r"No answer within ([\d.]+) s\.", failure.message)
    assert limit is not None
    assert float(limit[1]) < 0.9  # what was left, not the minute that the fallback has by itself


def test_provider_that_is_not_there(provider: Provider) -> None:
    failure, recorder, _ = fail(spec_of(provider, api_base="http://127.0.0.1:9/v1", max_retries=1))
    assert failure.code is Code.PROVIDER_UNAVAILABLE
    assert failure.message == "The provider could not be reached, or broke the connection off."
    assert llm_span(recorder).retries == 1


def test_model_without_a_secret(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "ambient")
    failure, _, _ = fail(spec_of(provider, api_base=None, api_key=None))
    assert (failure.code, failure.message) == (Code.AUTHENTICATION, "No secret is set for this model.")


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
def test_ambient_addresses_divert_nothing(
    provider: Provider, backup: Provider, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, backup.base_url)
    ask(spec_of(provider, id=variable))
    assert (len(provider.requests), len(backup.requests)) == (1, 0)


def test_unparsable_answer(provider: Provider) -> None:
    provider.answer("no field in here")
    failure, recorder, _ = fail(spec_of(provider))
    assert failure.code is Code.UNPARSABLE_OUTPUT
    assert failure.message == "The model's answer could not be read as the fields answer."
    assert len(recorder.spans) == 2  # DSPy asks once more, in JSON; both were billed
    assert recorder.usage.total == sum(span.usage.total for span in recorder.spans if span.usage)


def test_parsing_is_no_reason_to_fall_back(provider: Provider, backup: Provider) -> None:
    provider.script(text("nothing"))
    prediction, recorder = ask(spec_of(provider, fallbacks=(spec_of(backup, "openai/spare"),)))
    assert prediction.answer == "some answer"
    assert not backup.requests
    assert len(recorder.spans) == 2


def test_cancelled_call_closes_its_connection(provider: Provider) -> None:
    provider.script(hang())
    recorder = Recorder()

    async def cancelled() -> None:
        task = asyncio.create_task(aask(spec_of(provider), recorder))
        while not provider.in_flight:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while provider.in_flight:  # the server's side is told that nobody listens any more
            await asyncio.sleep(0.01)

    run(cancelled())
    assert llm_span(recorder).error == "CancelledError"
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError(), Code.TIMEOUT),
        (dspy.LMRateLimitError(message="x", retry_after=4.0), Code.RATE_LIMITED),
        (dspy.LMTransportError(message="x"), Code.PROVIDER_UNAVAILABLE),
        (dspy.LMServerError(message="x"), Code.PROVIDER_UNAVAILABLE),
        (dspy.LMTimeoutError(message="x"), Code.TIMEOUT),
        (dspy.LMAuthError(message="x"), Code.AUTHENTICATION),
        (dspy.LMNotConfiguredError(message="x"), Code.AUTHENTICATION),
        (dspy.LMBillingError(message="x"), Code.AUTHENTICATION),
        (dspy.ContextWindowExceededError(model="m"), Code.CONTEXT_WINDOW),
        (dspy.LMUnsupportedFeatureError(message="x"), Code.INVALID_REQUEST),
        (dspy.LMUnsupportedModelError(message="x"), Code.INVALID_REQUEST),
        (ExceptionGroup("several", [dspy.LMAuthError(message="x")]), Code.AUTHENTICATION),
        (ValueError("the prompt"), Code.UNKNOWN),
    ],
)
def test_every_error_has_its_code(error: Exception, code: Code) -> None:
    failure = failure_of(error)
    assert failure.code is code
    assert "prompt" not in failure.message.replace("The prompt is longer", "")


def test_cause_is_found_behind_other_errors() -> None:
    outer = RuntimeError("a node failed")
    outer.__cause__ = dspy.LMRateLimitError(message="slow down", model="openai/m", retry_after=7)
    assert failure_of(outer) == ModelFailure(
        Code.RATE_LIMITED, "The provider limits the rate of calls. It asks to wait 7 s.", "openai/m", 7.0
    )


def test_specification_is_not_changed_by_a_call(provider: Provider) -> None:
    spec = spec_of(provider, parameters={"temperature": 0.5})
    before = LanguageModelSpec(**{name: getattr(spec, name) for name in spec.__slots__})
    ask(spec)
    assert spec == before
