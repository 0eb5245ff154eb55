"""What `benchmarks.compile` starts: a process that compiles with DSPy alone, or as a worker of the product does.

python -m benchmarks.compile_worker        # then "raw 1" or "ours 8" on standard input: variant and number of threads
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import sys
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

import dspy  # noqa: E402
from django.utils import timezone  # noqa: E402
from dspy.lm15 import Message, Request, Response, TextPart, Usage  # noqa: E402

from benchmarks.evaluation_worker import answer_after  # noqa: E402
from datasets.models import Dataset  # noqa: E402
from datasets.services import create_dataset  # noqa: E402
from executions.models import Metric  # noqa: E402
from executions.services import create_metric, process  # noqa: E402
from mlops.models import User  # noqa: E402
from mlops.services.history import operator  # noqa: E402
from mlops.services.language_models import create_language_model, set_default  # noqa: E402
from mlops.services.prices import add_price  # noqa: E402
from mlops.services.users import create_user  # noqa: E402
from optimizations.models import Optimization  # noqa: E402
from optimizations.services import compile_program  # noqa: E402
from optimizations.services.working import work_optimizations  # noqa: E402
from programs.models import Program  # noqa: E402
from programs.services import ModuleInput, create_program, create_signature, submit_program  # noqa: E402

LATENCY_S = 0.020
PARAMS = {"max_bootstrapped_demos": 2, "max_labeled_demos": 4, "num_candidate_programs": 3}
INSTRUCTIONS = "Say whether the number is odd or even."
TRAINING = 20
VALIDATION = 30
"""Examples for each thread, so that a compile takes about as long whatever their number."""
_NUMBER = re.compile(r"number (\d+)")


def examples(threads: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Of training and of validation."""
    made = [
        {"question": f"number {number}", "answer": ("even", "odd")[number % 2]}
        for number in range(TRAINING + threads * VALIDATION)
    ]
    return made[:TRAINING], made[TRAINING:]


def answer(request: Request) -> str:
    """With demos right, without them for half of the numbers, so that there is something to find."""
    number = int(_NUMBER.findall(request.messages[-1].text or "")[-1])
    has_demos = len(request.messages) > 1
    said = ("even", "odd")[number % 2] if has_demos or number % 4 < 2 else "neither"
    return f"[[ ## answer ## ]]\n{said}\n\n[[ ## completed ## ]]"


class SlowEngine:
    """The model as DSPy alone reaches it: it answers after 20 ms, in the thread that asks."""

    supports_function_calling = False
    supports_response_schema = False
    supports_reasoning = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def __init__(self) -> None:
        self.calls = 0

    def complete(self, request: Request) -> Response:
        self.calls += 1
        time.sleep(LATENCY_S)
        return Response(
            id="stub",
            model=request.model,
            message=Message.assistant([TextPart(answer(request))]),
            finish_reason="stop",
            usage=Usage(input_tokens=200, output_tokens=30, total_tokens=230),
        )


class Answering(dspy.Signature):  # type: ignore[misc]  # dspy ships no types
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def raw(threads: int) -> dict[str, float]:
    """What DSPy itself does: nothing metered, remembered or stopped."""
    began = time.perf_counter()
    engine = SlowEngine()
    model = dspy.LM("openai/stub", engine=engine, cache=False, num_retries=0)
    train, val = ([dspy.Example(data).with_inputs("question") for data in part] for part in examples(threads))
    with dspy.context(lm=model, adapter=dspy.ChatAdapter()), contextlib.redirect_stdout(io.StringIO()):
        optimizer = dspy.BootstrapFewShotWithRandomSearch(metric=_same, num_threads=threads, **PARAMS)
        optimizer.compile(dspy.Predict(Answering.with_instructions(INSTRUCTIONS)), trainset=train, valset=val)
    return {"seconds": time.perf_counter() - began, "calls": engine.calls}


def _same(example: dspy.Example, prediction: Any, trace: Any = None) -> float:
    return float(example.answer == prediction.answer)


class Product:
    """Compiles as they are asked for and worked on: rows, lease, memo, budgets, progress, both judgements."""

    def __init__(self) -> None:
        answer_after(LATENCY_S, answer)
        process.ensure_started()
        actor = operator()
        model = create_language_model(actor=actor, name="openai/stub", api_base="http://127.0.0.1:9/v1")
        add_price(
            actor=actor,
            model=model,
            valid_from=timezone.now(),
            input_price=150_000,
            cached_input_price=75_000,
            output_price=600_000,
        )
        set_default(actor=actor, model=model)
        self._owner: User = create_user(actor=actor, username="bench", role="ml_engineer", password=None)
        self._program = self._made_program()
        self._metric: Metric = create_metric(actor=actor, name="right", kind="exact_match", config={"field": "answer"})
        self._datasets: dict[int, tuple[Dataset, Dataset]] = {}

    def compiled(self, threads: int) -> dict[str, float]:
        """`seconds` is all that a worker does between the two judgements, which DSPy alone does not make; `whole` has
        them too."""
        if threads not in self._datasets:
            self._datasets[threads] = self._made_datasets(threads)
        training, validation = self._datasets[threads]
        asked = compile_program(
            actor=self._owner,
            program=self._program,
            dataset=training,
            validation_set=validation,
            metric=self._metric,
            optimizer="bootstrap_few_shot_with_random_search",
            params={**PARAMS, "num_threads": threads, "metric_threshold": None},
        )
        assert work_optimizations() == 1
        job = Optimization.objects.select_related("baseline_evaluation", "best_evaluation").get(pk=asked.pk)
        before, after = job.baseline_evaluation, job.best_evaluation
        assert (job.state, job.finish_reason) == ("completed", "finished"), (job.state, job.error_message)
        assert before is not None
        assert after is not None
        assert job.calls == job.memo_entries.count()
        return {
            "seconds": (after.created_at - before.finished_at).total_seconds(),
            "whole": (job.finished_at - job.started_at).total_seconds(),
            "calls": job.calls,
        }

    def _made_datasets(self, threads: int) -> tuple[Dataset, Dataset]:
        training, validation = (
            create_dataset(actor=self._owner, name=f"numbers-{threads}", type=kind, examples=part)
            for kind, part in zip(("training", "validation"), examples(threads), strict=True)
        )
        return training, validation

    def _made_program(self) -> Program:
        signature = create_signature(
            actor=self._owner, name="bench", shorthand="question: str -> answer: str", instructions=INSTRUCTIONS
        )
        made = create_program(actor=self._owner, name="bench", modules=[ModuleInput("answer", "predict", signature)])
        return submit_program(actor=self._owner, program=made)


def main() -> None:
    """Compile as each line says, and print its figures as JSON."""
    logging.getLogger("dspy").setLevel(logging.CRITICAL)
    product = Product()
    variants = {"raw": raw, "ours": product.compiled}
    for line in sys.stdin:
        name, threads = line.split()
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars
            figures = variants[name](int(threads))
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
