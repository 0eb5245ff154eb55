"""DSPy's CPU-only steps run in place; everything else gets a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import dspy
import pytest
from dspy.clients.execution import _price_result, prepare

from mlops.runtime.loops import CPU_ONLY, ExecutionEventLoop
from tests.fakes import fields, scripted

T = TypeVar("T")


def on_our_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=ExecutionEventLoop) as runner:
        return runner.run(work())


def test_what_is_not_dspys_leaves_the_loop() -> None:
    async def elsewhere() -> int:
        return await asyncio.to_thread(threading.get_ident)

    assert on_our_loop(elsewhere) != threading.get_ident()


def test_the_names_are_those_of_the_installed_dspy() -> None:
    assert {prepare.__name__, _price_result.__name__} == CPU_ONLY
    assert prepare.__module__.startswith("dspy.clients.")


def test_a_call_of_a_model_needs_no_thread() -> None:
    lm = scripted(lambda asked, request: fields(answer="yes"))
    signature = dspy.Signature({"question": (str, dspy.InputField()), "answer": (str, dspy.OutputField())})

    async def predicted() -> tuple[str, int]:
        before = threading.active_count()
        with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), disable_history=True):
            answer = await dspy.Predict(signature).acall(question="?")
        return answer.answer, threading.active_count() - before

    assert on_our_loop(predicted) == ("yes", 0)


def test_what_fails_in_place_is_raised_where_it_was_awaited() -> None:
    async def prepared() -> None:
        await asyncio.to_thread(prepare)

    with pytest.raises(TypeError, match="missing"):
        on_our_loop(prepared)
