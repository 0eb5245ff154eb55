"""What the tests of engines share: a program, specifications of models at the loopback provider, one recorded call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import dspy

from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import aclose_language_models, failure_of, language_model
from mlops.runtime.recorder import Recorder, Span, recording
from mlops.types import LanguageModelSpec, ModelFailure, Price
from tests.provider import Provider

Result = TypeVar("Result")

SECRET = "sk-canary-0123456789"

program = dspy.Predict("question -> answer")


def spec_of(provider: Provider, name: str = "openai/stub", **changes: Any) -> LanguageModelSpec:
    """A model at the loopback provider, with a price of 3, 1 and 10 pico-dollars per token."""
    settings = {
        "id": name,
        "name": name,
        "api_base": provider.base_url,
        "api_key": SECRET,
        "timeout_s": 5.0,
        "deadline_s": 10.0,
        "price": Price(id=f"price of {name}", input=3, cached_input=1, output=10),
    }
    return LanguageModelSpec(**{**settings, **changes})


async def aask(spec: LanguageModelSpec, recorder: Recorder, question: str = "why?") -> Any:
    with recording(recorder), execution_context(language_model(spec), adapter("chat")):
        return await program.acall(question=question)


def run(work: Coroutine[Any, Any, Result], loop_factory: Any = asyncio.new_event_loop) -> Result:
    """The result of `work` on a loop of its own, which must come within a minute."""

    async def bounded() -> Result:
        try:
            async with asyncio.timeout(60):
                return await work
        finally:
            await aclose_language_models()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(bounded())


def ask(spec: LanguageModelSpec, question: str = "why?") -> tuple[Any, Recorder]:
    """One asynchronous call, and what was recorded of it."""
    recorder = Recorder()
    return run(aask(spec, recorder, question)), recorder


def ask_synchronously(spec: LanguageModelSpec, question: str = "why?") -> tuple[Any, Recorder]:
    recorder = Recorder()
    with recording(recorder), execution_context(language_model(spec), adapter("chat")):
        return program(question=question), recorder


def fail(spec: LanguageModelSpec, question: str = "why?") -> tuple[ModelFailure, Recorder, Exception]:
    """One call that must fail: why, what was recorded, and the exception itself."""
    recorder = Recorder()
    try:
        run(aask(spec, recorder, question))
    except Exception as error:
        return failure_of(error), recorder, error
    raise AssertionError("the call did not fail")


def llm_span(recorder: Recorder) -> Span:
    (span,) = recorder.spans
    return span
