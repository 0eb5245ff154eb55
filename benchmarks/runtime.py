"""One call in process, with an engine that answers at once: raw `dspy.ChainOfThought` beside `runtime.run`.

Prints one JSON line, microseconds per call and round by variant: `python -m benchmarks.runtime --rounds 5`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage

from benchmarks.systems import QUESTION

ANSWER = "[[ ## reasoning ## ]]\nsome reasoning\n\n[[ ## answer ## ]]\nsome answer\n\n[[ ## completed ## ]]"
CALLS = 400
Call = Callable[[], Awaitable[object]]


class Answering(dspy.Signature):  # type: ignore[misc]  # dspy ships no types
    """Answer the question."""

    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


class InstantEngine:
    """A model without latency: the same engine object stands behind both variants."""

    supports_function_calling = False
    supports_response_schema = False
    supports_reasoning = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def complete(self, request: Request) -> Response:
        return Response(
            id="instant",
            model=request.model,
            message=Message.assistant([TextPart(ANSWER)]),
            finish_reason="stop",
            usage=Usage(input_tokens=200, output_tokens=30, total_tokens=230),
        )


class InstantAsyncEngine(InstantEngine):
    """The same for `acall`."""

    async def complete(self, request: Request) -> Response:
        return super().complete(request)


def raw() -> Call:
    """What DSPy itself does: nothing recorded, nothing checked."""
    model = dspy.LM("openai/stub", engine=InstantEngine(), async_engine=InstantAsyncEngine(), cache=False)
    program = dspy.ChainOfThought(Answering)

    async def call() -> object:
        with dspy.context(lm=model, adapter=dspy.ChatAdapter()):
            return await program.acall(question=QUESTION)

    return call


VARIANTS: dict[str, Callable[[], Call]] = {"raw": raw}


async def measure(rounds: int) -> dict[str, list[float]]:
    """Microseconds per call; variants take turns, the first round warms up and is thrown away."""
    calls = {name: make() for name, make in VARIANTS.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            found[name].append(await _microseconds(call))
    return {name: values[1:] for name, values in found.items()}


async def _microseconds(call: Call) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter() - began) / CALLS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="runtime.run beside raw DSPy")
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(asyncio.run(measure(parser.parse_args().rounds))))


if __name__ == "__main__":
    main()
