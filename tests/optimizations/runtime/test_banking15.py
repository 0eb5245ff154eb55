"""What a compile is worth on the public banking15 data, which lies beside the checkout and is not part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest

from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import language_model
from mlops.types import MATCHER_NAME, LanguageModelSpec, Price
from optimizations.runtime.compiling import run_optimizer
from optimizations.runtime.ports import CompileMetric, CompilePorts
from optimizations.types import FinishReason, OptimizerName
from programs.runtime.build import build
from programs.runtime.built import BuiltProgram
from programs.runtime.ports import Ports
from programs.runtime.prompts import apply_prompts
from programs.types import FieldSpec, FieldType, ModuleKind, ModuleSpec, SignatureSpec
from tests.optimizations.runtime.compiles import World
from tests.programs.runtime.specs import program

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "banking15"
MATCHER = LanguageModelSpec("m-1", MATCHER_NAME, price=Price("free", 0, 0, 0))

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/banking15 beside the checkout")


def rows(split: str) -> list[tuple[str, dict[str, str]]]:
    lines = (DATA / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(f"{split}-{number}", json.loads(line)) for number, line in enumerate(lines)]


def triage() -> BuiltProgram:
    intents = tuple(sorted({data["intent"] for _id, data in rows("train")}))
    signature = SignatureSpec(
        "triage",
        "Classify the intent of a customer message.",
        (FieldSpec("text"), FieldSpec("intent", FieldType.ENUM, is_input=False, choices=intents)),
    )
    return build(program(ModuleSpec("triage", ModuleKind.PREDICT, signature)), Ports())


def exact(data: Any, output: Any) -> tuple[float, str]:
    return float(data["intent"] == output["intent"]), f"Expected {data['intent']}."


def accuracy(module: dspy.Module, examples: list[tuple[str, dict[str, str]]]) -> float:
    with execution_context(language_model(MATCHER), adapter("chat")):
        right = sum(bool(module(text=data["text"]).intent == data["intent"]) for _id, data in examples)
    return right / len(examples)


def compiled(optimizer: OptimizerName, ports: CompilePorts | None = None, **params: Any) -> Any:
    result = run_optimizer(
        triage(),
        optimizer=optimizer,
        params=params,
        trainset=rows("train"),
        valset=rows("validation")[:60],
        metric_of=lambda _models: CompileMetric(exact),
        models={"": MATCHER},
        ports=ports or CompilePorts(),
    )
    assert (result.finish_reason, result.error) == (FinishReason.FINISHED, "")
    return result


def test_labeled_few_shot_improves_the_matcher() -> None:
    result = compiled(OptimizerName.LABELED_FEW_SHOT, k=64)
    demos = result.best.state.prompts["triage"].demos
    data = dict(rows("train"))
    assert len(demos) == 64
    assert all({**data[demo["_example"]], "_example": demo["_example"]} == demo for demo in demos)
    before, after = triage().module, triage().module
    apply_prompts(after, result.best.state.prompts)
    test = rows("test")[:300]
    assert (result.calls, result.cost) == (0, 0)
    assert accuracy(after, test) > accuracy(before, test) + 0.04


def test_random_search_finds_what_is_best_on_the_validation_set() -> None:
    world = World()
    result = compiled(
        OptimizerName.BOOTSTRAP_FEW_SHOT_WITH_RANDOM_SEARCH,
        world.ports(),
        num_candidate_programs=2,
        max_bootstrapped_demos=4,
        max_labeled_demos=32,
    )
    assert [one.n for one in world.candidates] == [60] * 5
    assert result.best.score == max(one.score or 0 for one in world.candidates)
    fresh = triage().module
    apply_prompts(fresh, result.best.state.prompts)
    assert accuracy(fresh, rows("validation")[:60]) == pytest.approx(result.best.score)
