"""One call in process, with an engine that answers at once: raw `dspy.ChainOfThought` beside `runtime.run`.

Prints one JSON line, microseconds per call and round by variant: `python -m benchmarks.runtime --rounds 5`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage

from benchmarks.systems import QUESTION
from executions.runtime.run import run
from mlops.runtime.engines.engine import AsyncMeteredEngine, MeteredEngine
from mlops.runtime.engines.links import Client, Link
from mlops.runtime.engines.providers import Line
from mlops.types import LanguageModelSpec, Price
from programs.runtime.build import build
from programs.runtime.ports import Ports
from programs.types import FieldSpec, ModuleKind, ModuleSpec, ProgramSpec, SignatureSpec

ANSWER = "[[ ## reasoning ## ]]\nsome reasoning\n\n[[ ## answer ## ]]\nsome answer\n\n[[ ## completed ## ]]"
CALLS = 100
TURNS = 8
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


class InstantAsyncEngine:
    """The same for `acall`."""

    _instant = InstantEngine()

    async def complete(self, request: Request) -> Response:
        return self._instant.complete(request)

    def stream(self, request: Request) -> AsyncIterator[object]:
        raise NotImplementedError("nothing here streams")  # the protocol asks for it, no benchmark calls it


def raw() -> Call:
    """What DSPy itself does: nothing recorded, nothing checked."""
    model = dspy.LM("openai/stub", engine=InstantEngine(), async_engine=InstantAsyncEngine(), cache=False)
    program = dspy.ChainOfThought(Answering)

    async def call() -> object:
        with dspy.context(lm=model, adapter=dspy.ChatAdapter()):
            return await program.acall(question=QUESTION)

    return call


class InstantLink(Link):
    """A link of the product whose line answers at once; everything before and behind the line is the product's own."""

    def client(self) -> Client:
        return self._instant_client

    @cached_property
    def _instant_client(self) -> Client:
        return Client(self, Line(InstantAsyncEngine(), "stub", _hang_up), self.spec.concurrency_limit)


async def _hang_up() -> None:
    """There is nothing to close."""


def ours() -> Call:
    """The product's run of the same program: input validated, traced, metered, priced."""
    spec = LanguageModelSpec("bench", "openai/stub", api_key="stub", price=Price("bench", 150_000, 75_000, 600_000))
    engine = AsyncMeteredEngine([InstantLink(spec)])
    model = dspy.LM(spec.name, engine=MeteredEngine(engine), async_engine=engine, cache=False, num_retries=0)
    signature = SignatureSpec(
        "bench", "Answer the question.", (FieldSpec("question"), FieldSpec("answer", is_input=False))
    )
    module = ModuleSpec("answer", ModuleKind.CHAIN_OF_THOUGHT, signature)
    program = build(ProgramSpec("bench", "bench", 1, (module,)), Ports())

    async def call() -> object:
        result = await run(
            program, {"question": QUESTION}, models={"": spec}, deadline_s=60, language_model_of=lambda _: model
        )
        assert result.output is not None
        assert result.cost
        return result

    return call


VARIANTS: dict[str, Callable[[], Call]] = {"raw": raw, "ours": ours}


async def measure(rounds: int) -> dict[str, list[float]]:
    """Microseconds of CPU time per call; variants take short turns, and what they do first is not counted."""
    calls = {name: make() for name, make in VARIANTS.items()}
    for call in calls.values():
        await _microseconds(call)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        turns: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(TURNS):
            for name, call in calls.items():
                turns[name].append(await _microseconds(call))
        for name, values in turns.items():
            found[name].append(statistics.median(values))
    return found


async def _microseconds(call: Call) -> float:
    """CPU time, not elapsed time: nothing waits here, and neighbours on the machine do not count."""
    began = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - began) / CALLS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="runtime.run beside raw DSPy")
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(asyncio.run(measure(parser.parse_args().rounds))))


if __name__ == "__main__":
    main()
