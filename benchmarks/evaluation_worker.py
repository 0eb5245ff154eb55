"""What `benchmarks.evaluations` starts: the rows of an evaluation, and processes that work on it.

python -m benchmarks.evaluation_worker seed 1000 2        # prints the evaluation, and one to warm up for each worker
python -m benchmarks.evaluation_worker work 0.05 <warm up>  # then ids of evaluations on standard input
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from dspy.lm15 import Message, Request, Response, TextPart, Usage  # noqa: E402

from datasets.services import create_dataset  # noqa: E402
from executions.models import Evaluation, Metric  # noqa: E402
from executions.services import create_metric, evaluate_program, process, run_evaluation_here  # noqa: E402
from mlops.models import LanguageModel  # noqa: E402
from mlops.runtime.engines.links import Client, Link  # noqa: E402
from mlops.runtime.engines.providers import Line  # noqa: E402
from mlops.services.history import operator  # noqa: E402
from mlops.services.language_models import create_language_model, set_default  # noqa: E402
from mlops.services.users import create_user  # noqa: E402
from programs.models import Program  # noqa: E402
from programs.services import ModuleInput, create_program, create_signature  # noqa: E402

ANSWER = "[[ ## answer ## ]]\nsome answer\n\n[[ ## completed ## ]]"
LINKED = "_sleeping_client"


class SleepingEngine:
    """A model that takes its time."""

    def __init__(self, latency_s: float, answer: Callable[[Request], str]) -> None:
        self._latency_s, self._answer = latency_s, answer

    async def complete(self, request: Request) -> Response:
        await asyncio.sleep(self._latency_s)
        return Response(
            id="sleeping",
            model=request.model,
            message=Message.assistant([TextPart(self._answer(request))]),
            finish_reason="stop",
            usage=Usage(input_tokens=200, output_tokens=30, total_tokens=230),
        )

    def stream(self, request: Request) -> AsyncIterator[object]:
        raise NotImplementedError("nothing here streams")  # the protocol asks for it, no benchmark calls it


def answer_after(latency_s: float, answer: Callable[[Request], str] = lambda request: ANSWER) -> None:
    """Replace the line to every provider; everything before and behind it is the product's own."""
    engine = SleepingEngine(latency_s, answer)

    async def hang_up() -> None:
        """There is nothing to close."""

    def client(link: Any) -> Client:
        if not hasattr(link, LINKED):
            setattr(link, LINKED, Client(link, Line(engine, "stub", hang_up), link.spec.concurrency_limit))
        made: Client = getattr(link, LINKED)
        return made

    Link.client = client  # type: ignore[method-assign,assignment]  # that is what this is for


def seed(size: int, workers: int) -> list[Evaluation]:
    """The evaluation that is measured, and one of 64 examples for each worker to warm up."""
    actor = operator()
    if not LanguageModel.objects.filter(name="openai/stub").exists():
        model = create_language_model(actor=actor, name="openai/stub", api_base="http://127.0.0.1:9/v1")
        set_default(actor=actor, model=model)
    program = Program.objects.filter(name="bench").first() or _program()
    metric = Metric.objects.filter(name="right").first() or create_metric(
        actor=actor, name="right", kind="exact_match", config={"field": "answer"}
    )
    owner = create_user(actor=actor, username=f"bench-{time.time_ns()}", role="ml_engineer", password=None)
    evaluations = []
    for number in (size, *[64] * workers):
        examples = [{"question": f"What is {n} plus {n}?", "answer": "some answer"} for n in range(number)]
        dataset = create_dataset(actor=owner, name="bench", type="test", examples=examples)
        evaluations.append(evaluate_program(actor=owner, program=program, dataset=dataset, metrics=[metric]))
    return evaluations


def _program() -> Program:
    signature = create_signature(actor=operator(), name="bench", shorthand="question: str -> answer: str")
    return create_program(actor=operator(), name="bench", modules=[ModuleInput("answer", "predict", signature)])


def work(latency_s: float, warming: str) -> None:
    """Warm up, say so, then work on the evaluations that are named and print how long each took."""
    answer_after(latency_s)
    process.ensure_started()
    process.settle_heap()
    run_evaluation_here(Evaluation.objects.get(pk=warming))
    print("ready", flush=True)
    for line in sys.stdin:
        evaluation = Evaluation.objects.get(pk=line.strip())
        began = time.perf_counter()
        ended = run_evaluation_here(evaluation)
        seconds = time.perf_counter() - began
        assert (ended.state, ended.done, ended.errors) == ("completed", ended.size, 0)
        print(seconds, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "seed":
        print(*[evaluation.pk for evaluation in seed(int(sys.argv[2]), int(sys.argv[3]))])
    else:
        work(float(sys.argv[2]), sys.argv[3])
