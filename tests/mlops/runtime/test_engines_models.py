"""The language models of a process: one per content, bounded, closed when idle, not shared over a fork."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import warnings
from dataclasses import replace
from typing import Any, Literal

import dspy
import pytest

from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.embeddings import aclose_embedding_models, aembed
from mlops.runtime.engines import ModelRefused, close_language_models, failure_of, language_model
from mlops.runtime.engines.links import Link
from mlops.runtime.engines.litellm_door import litellm_loaded
from mlops.runtime.engines.models import LanguageModels
from mlops.runtime.matcher import MODEL
from mlops.runtime.recorder import Recorder, recording
from mlops.types import LanguageModelKind, LanguageModelSpec, ModelErrorCode, Price
from tests.mlops.runtime.calling import SECRET, aask, ask, ask_synchronously, fail, llm_span, run, spec_of
from tests.provider import Provider, hang, status


def matcher_spec(**changes: Any) -> LanguageModelSpec:
    return LanguageModelSpec(**{"id": "m", "name": MODEL, "price": Price("free", 0, 0, 0), **changes})


def test_same_content_is_the_same_model(provider: Provider) -> None:
    assert language_model(spec_of(provider)) is language_model(spec_of(provider))


@pytest.mark.parametrize(
    "change",
    [
        {"api_key": "sk-other"},
        {"parameters": {"temperature": 1.0}},
        {"api_base": "http://127.0.0.1:9/v1"},
        {"concurrency_limit": 3},
        {"price": None},
        {"fallbacks": (LanguageModelSpec(id="f", name="openai/f"),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_content_is_another_model(provider: Provider, change: dict[str, Any]) -> None:
    assert language_model(spec_of(provider)) is not language_model(spec_of(provider, **change))


def test_dspy_does_nothing_of_its_own(provider: Provider) -> None:
    lm = language_model(spec_of(provider, parameters={"temperature": 0.5}))
    assert (lm.cache, lm.num_retries, lm.kwargs["temperature"]) == (False, 0, 0.5)
    assert copy.deepcopy(lm).engine is lm.engine


def test_model_whose_loop_is_gone_is_let_go(provider: Provider) -> None:
    link = Link(spec_of(provider))

    async def connected() -> None:
        link.client()

    asyncio.run(connected())
    assert link.lines == 1
    link.retire()  # a coroutine that nobody awaits would be an error of this test
    assert link.lines == 0


def test_cache_is_bounded_and_closes_what_it_drops(provider: Provider) -> None:
    models = LanguageModels(size=2)
    first = models.get(spec_of(provider, "openai/first"))

    async def evicted() -> tuple[int, int]:
        with dspy.context(lm=first, adapter=dspy.ChatAdapter(), disable_history=True):
            await dspy.Predict("question -> answer").acall(question="why?")
        link = first.engine.async_engine.chain[0]
        before = link.lines
        models.get(spec_of(provider, "openai/second"))
        models.get(spec_of(provider, "openai/third"))
        while link.lines:
            await asyncio.sleep(0.01)
        return before, len(models)

    assert run(evicted()) == (1, 2)


def test_dropped_model_finishes_its_call_first(provider: Provider) -> None:
    async def wait_for_both(exchange: Any) -> None:
        while provider.max_in_flight < 2:
            await asyncio.sleep(0.01)
        exchange.complete({"content": "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"}, "stop")

    provider.script(wait_for_both, wait_for_both)
    spec = spec_of(provider)
    lm = language_model(spec)

    async def closed_meanwhile() -> list[Any]:
        first = asyncio.create_task(aask(spec, Recorder()))
        while not provider.in_flight:
            await asyncio.sleep(0.01)
        close_language_models()
        await asyncio.sleep(0.05)
        answers = await asyncio.gather(first, aask(spec, Recorder()))
        while lm.engine.async_engine.chain[0].lines:
            await asyncio.sleep(0.01)
        return [answer.answer for answer in answers]

    assert run(closed_meanwhile()) == ["yes", "yes"]
    assert language_model(spec) is not lm


def test_child_process_starts_anew(provider: Provider) -> None:
    """The child must neither use nor close the sockets of its parent."""
    spec = spec_of(provider)
    ask_synchronously(spec)
    inherited = language_model(spec)
    child = os.fork()
    if not child:
        try:
            answered = ask_synchronously(spec)[0].answer == "some answer"
            os._exit(0 if answered and language_model(spec) is not inherited else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask_synchronously(spec)[0].answer == "some answer"
    assert language_model(spec) is inherited


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": LanguageModelKind.EMBEDDING}, "An embedding model cannot be asked for text."),
        ({"parameters": {"num_retries": 3, "cache": True}}, "Not parameters of a model: cache, num_retries."),
        ({"parameters": {"temperature": "hot"}}, "The parameters of the model are not valid"),
        ({"parameters": {"api_key": "sk-x"}}, "api_key"),
        ({"name": "openai/gpt-5", "parameters": {"max_tokens": 100}}, "reasoning models"),
        ({"name": "builtin/other"}, "There is no built-in model called builtin/other."),
        ({"fallbacks": (matcher_spec(),)}, "The example matcher cannot stand in for a language model."),
    ],
)
def test_specification_that_cannot_be_called(provider: Provider, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelRefused, match=reason.replace(".", r"\.")) as caught:
        language_model(spec_of(provider, **change))
    assert caught.value.failure.code is ModelErrorCode.INVALID_REQUEST
    assert fail(spec_of(provider, **change))[0] == caught.value.failure
    assert "sk-x" not in str(caught.value)


def test_reasoning_model_with_our_defaults(provider: Provider) -> None:
    assert ask(spec_of(provider, "openai/gpt-5-mini"))[0].answer == "some answer"


class Sentiment(dspy.Signature):  # type: ignore[misc]  # DSPy ships no types
    """Judge the mood."""

    text: str = dspy.InputField()
    mood: Literal["glad", "sad"] = dspy.OutputField()


def test_matcher_answers_in_process() -> None:
    lm, judge = language_model(matcher_spec()), dspy.Predict(Sentiment)

    async def judged() -> Any:
        return await judge.acall(text="so glad")

    for is_synchronous in (True, False):
        recorder = Recorder()
        with recording(recorder), execution_context(lm, adapter("chat")):
            prediction = judge(text="so glad") if is_synchronous else run(judged())
        assert prediction.mood == "glad"
        assert (recorder.cost, recorder.waited_s) == (0, 0.0)
        assert llm_span(recorder).model == MODEL
        assert recorder.usage.input > 0


def test_refusal_of_the_matcher_is_told_whole() -> None:
    spec = matcher_spec()
    failure, recorder, _ = fail(spec)
    assert failure.message.startswith("The example matcher cannot fill `answer`:")
    assert llm_span(recorder).error == f"invalid_request: {failure.message}"
    with pytest.raises(dspy.LMInvalidRequestError) as caught:
        ask_synchronously(spec)
    assert failure_of(caught.value) == failure


def test_capabilities_of_known_and_unknown_models(provider: Provider) -> None:
    known = language_model(spec_of(provider, "openai/gpt-4o-mini"))
    assert (known.supports_function_calling, known.supports_response_schema) == (True, True)
    assert {"response_format", "tools", "temperature"} <= known.supported_params
    unknown = language_model(spec_of(provider))
    assert (unknown.supports_function_calling, unknown.supports_response_schema) == (False, False)
    assert not {"response_format", "tools"} & unknown.supported_params


def test_operator_knows_better_than_the_tables(provider: Provider) -> None:
    told = language_model(spec_of(provider, supports_tools=True, supports_json_schema=True))
    assert (told.supports_function_calling, told.supports_response_schema) == (True, True)
    assert {"response_format", "tools", "tool_choice"} <= told.supported_params
    denied = language_model(spec_of(provider, "openai/gpt-4o-mini", supports_tools=False, supports_json_schema=False))
    assert not denied.supports_response_schema
    assert "tools" not in denied.supported_params
    assert "response_format" in denied.supported_params  # plain JSON is another matter


@pytest.mark.parametrize(
    "prefix", ["anthropic", "deepseek", "gemini", "groq", "hosted_vllm", "moonshot", "ollama", "openrouter", "xai"]
)
def test_providers_of_lm15_are_called_at_the_base_given(provider: Provider, prefix: str) -> None:
    """Each speaks its own protocol; those that are not OpenAI's are told apart by the address they ask for."""
    spec = spec_of(provider, f"{prefix}/stub", max_retries=0)
    if prefix in ("anthropic", "gemini"):
        assert fail(spec)[0].code is ModelErrorCode.INVALID_REQUEST  # no such address at an OpenAI server
    else:
        assert ask(spec)[0].answer == "some answer"
        assert provider.requests[0].body["model"] == "stub"
        assert provider.requests[0].headers["authorization"] == f"Bearer {SECRET}"


def test_local_servers_need_no_secret(provider: Provider) -> None:
    for name in ("ollama/stub", "hosted_vllm/stub", "openai/stub"):
        assert ask(spec_of(provider, name, api_key=None))[0].answer == "some answer"


@pytest.fixture
def litellm() -> Any:
    """LiteLLM, loaded before anything is timed: that alone takes seconds on a busy machine."""
    return run(litellm_loaded())


def test_provider_that_lm15_lacks_is_reached_through_litellm(provider: Provider, litellm: Any) -> None:
    spec = spec_of(provider, "together_ai/stub", timeout_s=60, deadline_s=60)
    prediction, recorder = ask(spec)
    assert prediction.answer == "some answer"
    assert provider.requests[0].body["model"] == "stub"
    assert recorder.usage.total > 0
    assert recorder.cost == llm_span(recorder).cost


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (status(401), ModelErrorCode.AUTHENTICATION),
        (status(429, retry_after=3600), ModelErrorCode.RATE_LIMITED),
        (status(500), ModelErrorCode.PROVIDER_UNAVAILABLE),
        (hang(), ModelErrorCode.TIMEOUT),
    ],
    ids=["401", "429", "500", "hang"],
)
def test_faults_behind_litellm_have_the_same_codes(
    provider: Provider, litellm: Any, fault: Any, code: ModelErrorCode
) -> None:
    provider.script(*[fault] * 3)
    timeout_s = 0.5 if code is ModelErrorCode.TIMEOUT else 60
    assert fail(spec_of(provider, "together_ai/stub", timeout_s=timeout_s, deadline_s=60))[0].code is code


def test_clients_of_litellm_end_with_their_loop(provider: Provider, litellm: Any) -> None:
    """It keeps them by the loop's place in memory, where the next loop may be made."""
    spec = spec_of(provider, "together_ai/stub", timeout_s=60, deadline_s=60)
    vectors = replace(spec, name="openai_like/vectors", kind=LanguageModelKind.EMBEDDING)

    async def both() -> str:
        await aask(spec, Recorder())
        await aembed(vectors, ["a card"])
        mark = str(id(asyncio.get_running_loop()))
        assert len(kept(mark)) == 2
        await aclose_embedding_models()
        return mark

    def kept(mark: str) -> list[str]:
        return [key for key in litellm.in_memory_llm_clients_cache.cache_dict if key.endswith(mark)]

    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        mark = run(both())
        gc.collect()
    assert kept(mark) == []
    assert [str(warning.message) for warning in told if warning.category is ResourceWarning] == []
