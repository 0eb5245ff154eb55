"""A compile under guard beside DSPy's own: the same optimizer, data and engine, which answers after 20 ms.

Prints one JSON line, seconds per compile and round by variant: `python -m benchmarks.compile --rounds 3`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage

from mlops.runtime.recorder import current_recorder
from mlops.types import LanguageModelSpec, Price, TokenUsage
from optimizations.runtime.compiling import run_optimizer
from optimizations.runtime.ports import CompileMetric, CompilePorts
from optimizations.types import FinishReason, OptimizerName
from programs.runtime.build import build
from programs.runtime.ports import Ports
from programs.types import FieldSpec, ModuleKind, ModuleSpec, ProgramSpec, SignatureSpec

LATENCY_S = 0.020
PARAMS = {"max_bootstrapped_demos": 2, "max_labeled_demos": 4, "num_candidate_programs": 3}
THREADS = {"1 thread": 1, "8 threads": 8}
PRICE = Price("bench", 150_000, 75_000, 600_000)
SPEC = LanguageModelSpec("bench", "openai/stub", price=PRICE)
INSTRUCTIONS = "Say whether the number is odd or even."
_NUMBER = re.compile(r"number (\d+)")

Compile = Callable[[int], int]
"""With so many threads; gives the number of model calls."""


def examples(count: int, first: int = 0) -> list[tuple[str, dict[str, str]]]:
    return [
        (str(number), {"question": f"number {number}", "answer": ("even", "odd")[number % 2]})
        for number in range(first, first + count)
    ]


TRAINSET, VALSET = examples(20), examples(30, first=20)


class SlowEngine:
    """Answers after 20 ms, rightly; the same engine stands behind both variants."""

    supports_function_calling = False
    supports_response_schema = False
    supports_reasoning = False
    supported_params = frozenset({"temperature", "max_tokens"})

    def __init__(self) -> None:
        self.calls = 0

    def complete(self, request: Request) -> Response:
        self.calls += 1
        time.sleep(LATENCY_S)
        if recorder := current_recorder():
            recorder.meter(SPEC.name, TokenUsage(200, 30), PRICE)
        number = int(_NUMBER.findall(request.messages[-1].text or "")[-1])
        text = f"[[ ## answer ## ]]\n{('even', 'odd')[number % 2]}\n\n[[ ## completed ## ]]"
        return Response(
            id="stub",
            model=request.model,
            message=Message.assistant([TextPart(text)]),
            finish_reason="stop",
            usage=Usage(input_tokens=200, output_tokens=30, total_tokens=230),
        )


class Answering(dspy.Signature):  # type: ignore[misc]  # dspy ships no types
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def plain(threads: int) -> int:
    """What DSPy itself does: nothing metered, remembered or stopped."""
    engine = SlowEngine()
    model = dspy.LM(SPEC.name, engine=engine, cache=False, num_retries=0)
    train, val = ([dspy.Example(data).with_inputs("question") for _id, data in rows] for rows in (TRAINSET, VALSET))
    with dspy.context(lm=model, adapter=dspy.ChatAdapter()), contextlib.redirect_stdout(io.StringIO()):
        optimizer = dspy.BootstrapFewShotWithRandomSearch(metric=_same, num_threads=threads, **PARAMS)
        optimizer.compile(dspy.Predict(Answering.with_instructions(INSTRUCTIONS)), trainset=train, valset=val)
    return engine.calls


def ours(threads: int) -> int:
    """The product's compile: metered, memoised, watched."""
    engine = SlowEngine()
    model = dspy.LM(SPEC.name, engine=engine, cache=False, num_retries=0)
    fields = (FieldSpec("question"), FieldSpec("answer", is_input=False))
    module = ModuleSpec("answer", ModuleKind.PREDICT, SignatureSpec("bench", INSTRUCTIONS, fields))
    memo: dict[tuple[str, int], Any] = {}
    result = run_optimizer(
        build(ProgramSpec("bench", "bench", 1, (module,)), Ports()),
        optimizer=OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH,
        params={**PARAMS, "num_threads": threads, "metric_threshold": None},
        trainset=TRAINSET,
        valset=VALSET,
        metric_of=lambda _models: CompileMetric(_exact),
        models={"": SPEC},
        ports=CompilePorts(
            memo_get=lambda *name: memo.get(name), memo_put=lambda *entry: memo.update({entry[:2]: entry[2]})
        ),
        language_model_of=lambda spec: model,
    )
    assert result.finish_reason is FinishReason.FINISHED
    assert result.calls == engine.calls == len(memo)
    return engine.calls


def _exact(data: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[float, str]:
    return float(data["answer"] == output["answer"]), ""


def _same(example: dspy.Example, prediction: Any, trace: Any = None) -> float:
    return float(example.answer == prediction.answer)


VARIANTS: dict[str, Compile] = {"raw": plain, "ours": ours}


def measure(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds per compile by number of threads and variant; variants take turns, the first turn is not counted."""
    logging.getLogger("dspy").setLevel(logging.CRITICAL)
    found: dict[str, dict[str, list[float]]] = {}
    for label, threads in THREADS.items():
        found[label] = {name: [] for name in VARIANTS}
        calls = {compiled(threads) for compiled in VARIANTS.values()}
        assert len(calls) == 1, "both variants ask the model equally often"
        for _ in range(rounds):
            for name, compiled in VARIANTS.items():
                began = time.perf_counter()
                compiled(threads)
                found[label][name].append(time.perf_counter() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="a compile under guard beside DSPy's own")
    parser.add_argument("--rounds", type=int, default=3)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        found = measure(parser.parse_args().rounds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
