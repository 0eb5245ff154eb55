"""DSPy's CPU-only steps run in place; everything else gets a thread."""

from __future__ import annotations

import asyncio
import threading

import dspy
from dspy.clients.execution import _price_result, prepare

from mlops.runtime.hops import CPU_ONLY, LoopExecutor
from tests.fakes import fields, scripted


def in_loop(work: object) -> object:
    async def main() -> object:
        asyncio.get_running_loop().set_default_executor(LoopExecutor(2))
        return await asyncio.to_thread(work)  # type: ignore[arg-type]

    return asyncio.run(main())


def test_what_is_not_dspys_leaves_the_loop() -> None:
    assert in_loop(threading.get_ident) != threading.get_ident()


def test_the_names_are_those_of_the_installed_dspy() -> None:
    assert {prepare.__name__, _price_result.__name__} == CPU_ONLY
    assert prepare.__module__.startswith("dspy.clients.")


def test_a_call_of_a_model_needs_no_thread() -> None:
    lm = scripted(lambda asked, request: fields(answer="yes"))
    signature = dspy.Signature({"question": (str, dspy.InputField()), "answer": (str, dspy.OutputField())})

    async def main() -> tuple[str, int]:
        executor = LoopExecutor(2)
        asyncio.get_running_loop().set_default_executor(executor)
        with dspy.context(lm=lm, adapter=dspy.ChatAdapter(), disable_history=True):
            answer = await dspy.Predict(signature).acall(question="?")
        return answer.answer, len(executor._threads)

    assert asyncio.run(main()) == ("yes", 0)
