"""Programs of every kind in the hands of the optimizers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

from mlops.errors import Invalid
from mlops.runtime.engines import language_model
from mlops.types import MATCHER_NAME, LanguageModelSpec, Price
from optimizations.runtime.ports import CompileMetric
from optimizations.types import FinishReason, OptimizerName
from programs.runtime.build import build
from programs.runtime.ports import Ports
from programs.runtime.tools import RegisteredTool
from programs.types import (
    AdapterName,
    FieldSpec,
    FieldType,
    ModuleKind,
    ModuleSpec,
    PromptSpec,
    SignatureSpec,
    ToolSpec,
)
from tests.fakes import fields, scripted
from tests.optimizations.runtime.compiles import (
    SMALL,
    World,
    anything,
    compiled,
    examples,
    wanted,
)
from tests.programs.runtime.specs import module, program

MATCHER = LanguageModelSpec("m-1", MATCHER_NAME, price=Price("free", 0, 0, 0))


class Guess(dspy.Module):  # type: ignore[misc]  # DSPy is untyped
    """A module of one's own with a predictor inside."""

    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.guess = dspy.Predict(signature)

    def forward(self, **inputs: Any) -> Any:
        return self.guess(**inputs)


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_modules_whose_state_nobody_could_store_are_left_alone(optimizer: OptimizerName) -> None:
    spec = program(
        ModuleSpec("own", ModuleKind.CUSTOM, SignatureSpec("own", "", CUSTOM_FIELDS), config={"module": "guess"}),
        module("decide", "notes, text -> label"),
        outputs=("label",),
    )
    world, lm = World(), scripted(anything)
    result = compiled(optimizer, world=world, lm=lm, built=build(spec, Ports(custom_modules={"guess": Guess})))
    assert (result.finish_reason, result.error) == (FinishReason.FINISHED, "")
    assert all(one.state.prompts.keys() == {"decide"} for one in world.candidates)
    guesses = [request for request in lm.engine.requests if wanted(request) == ["notes"]]
    assert len({(request.system, len(request.messages)) for request in guesses}) <= 1


CUSTOM_FIELDS = (FieldSpec("text"), FieldSpec("notes", is_input=False))


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_retrieval_and_agents(optimizer: OptimizerName) -> None:
    def answer(given: dict[str, str], request: Any) -> str:
        if wanted(request)[:1] == ["next_thought"]:
            return fields(next_thought="t", tool_calls={"tool_calls": [{"name": "submit", "args": {"label": "red"}}]})
        return anything(given, request)

    spec = program(
        module("find", kind="retrieve", corpus="c-1", input="text", output="passages"),
        module("decide", "text, passages: list[string] -> label", "react"),
        outputs=("label",),
    )
    built = build(spec, Ports(retrieve=lambda *asked: [f"about {asked[1]}"]))
    world, lm = World(), scripted(answer)
    result = compiled(optimizer, world=world, lm=lm, built=built)
    assert result.finish_reason is FinishReason.FINISHED, result.error
    assert all(one.state.prompts.keys() == {"decide"} for one in world.candidates)
    world.candidates = []
    again = compiled(optimizer, world=world, lm=lm, built=built)
    assert again.paid_now == 0


def test_tools_with_effects_are_not_run_by_an_optimizer() -> None:
    sent: list[str] = []

    def send(text: str) -> str:
        sent.append(text)
        return "sent"

    tool = RegisteredTool(ToolSpec("send", "Sends.", repeatable=False), send)
    spec = program(module("decide", "text -> label", "react", tools=["send"]))
    with pytest.raises(Invalid) as refusal:
        compiled(OptimizerName.GEPA, built=build(spec, Ports(tools={"send": tool})))
    assert [problem.code for problem in refusal.value.problems] == ["program_not_repeatable"]
    assert sent == []


def test_a_program_without_prompts_is_refused() -> None:
    spec = program(module("find", kind="retrieve", corpus="c-1"))
    with pytest.raises(Invalid) as refusal:
        compiled(OptimizerName.LABELED_FEW_SHOT, built=build(spec, Ports(retrieve=lambda *_: [])))
    assert [problem.code for problem in refusal.value.problems] == ["nothing_to_optimize"]


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_typed_fields_and_the_json_adapter(optimizer: OptimizerName) -> None:
    signature = SignatureSpec(
        "s",
        "Judge.",
        (
            FieldSpec("text"),
            FieldSpec("day", FieldType.DATE, required=False),
            FieldSpec("tags", is_list=True),
            FieldSpec("label", FieldType.ENUM, is_input=False, choices=("red", "green", "blue")),
            FieldSpec("score", FieldType.NUMBER, is_input=False),
        ),
    )
    data = [
        (example, {**values, "day": "2024-02-29" if number % 2 else None, "tags": ["a", "b"], "score": 0.5, "who": "x"})
        for number, (example, values) in enumerate(examples(8))
    ]

    def answer(given: dict[str, str], request: Any) -> str:
        if "label" not in (request.messages[-1].text or "").rpartition("Respond with")[2]:
            return (
                '{"proposed_instruction": "p", "proposed_prefix_for_output_field": "q", "observations": "o", '
                '"summary": "s", "module_advice": {}, "discussion": "d"}'
            )
        return '{"label": "red", "score": 0.5}'

    world = World()
    spec = program(ModuleSpec("classify", ModuleKind.PREDICT, signature), adapter=AdapterName.JSON)
    result = compiled(
        optimizer, world=world, lm=scripted(answer), built=build(spec, Ports()), trainset=data, valset=data[:6]
    )
    assert result.finish_reason is FinishReason.FINISHED, result.error
    demos = [demo for one in world.candidates for demo in one.state.prompts["classify"].demos]
    assert all(demo["_example"].startswith("e-") and "who" not in demo for demo in demos)


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_the_least_data(optimizer: OptimizerName) -> None:
    params = SMALL[optimizer] | ({"bsize": 1} if optimizer is OptimizerName.SIMBA else {})
    params |= {"minibatch_size": 1} if optimizer is OptimizerName.MIPRO_V2 else {}
    result = compiled(optimizer, params=params, trainset=examples(1), valset=examples(1, first=5))
    assert result.finish_reason is FinishReason.FINISHED, result.error


@pytest.mark.parametrize("optimizer", OptimizerName)
def test_the_example_matcher(optimizer: OptimizerName) -> None:
    """It is no language model: optimizers that need instructions written get told so, all others work."""
    spec = program(ModuleSpec("classify", ModuleKind.PREDICT, SignatureSpec("s", "", (FieldSpec("text"), LABEL))))
    data = [(f"e-{n}", {"text": text, "label": label}) for n, (text, label) in enumerate(LINES)]
    result = compiled(
        optimizer,
        built=build(spec, Ports()),
        models={"": MATCHER},
        language_model_of=language_model,
        trainset=data[:8],
        valset=data[6:],
    )
    needs_words = optimizer in (OptimizerName.COPRO, OptimizerName.MIPRO_V2)
    assert result.finish_reason is (FinishReason.FAILED if needs_words else FinishReason.FINISHED), result.error
    assert result.cost == 0
    assert result.error if needs_words else result.best


LABEL = FieldSpec("label", FieldType.ENUM, is_input=False, choices=("sweet", "sour"))
LINES = (
    ("honey on bread", "sweet"),
    ("lemon juice", "sour"),
    ("sugar cake", "sweet"),
    ("vinegar in water", "sour"),
    ("honey cake", "sweet"),
    ("lemon with vinegar", "sour"),
    ("sugar and honey", "sweet"),
    ("juice of a lemon", "sour"),
    ("cake with sugar", "sweet"),
    ("vinegar and lemon juice", "sour"),
)


def test_demos_of_prompts_that_a_program_came_with_keep_their_example() -> None:
    prompt = PromptSpec("Say it.", ({"text": "old", "label": "red", "_example": "e-77"}, {"text": "x", "label": "red"}))
    spec = program(module("classify", "text -> label", prompt=prompt))
    world = World()
    compiled(OptimizerName.COPRO, world=world, built=build(spec, Ports()))
    for one in world.candidates:
        assert one.state.prompts["classify"].demos == prompt.demos


def test_gepa_improves_a_program_by_the_feedback() -> None:
    def answer(given: dict[str, str], request: Any) -> str:
        if wanted(request) == ["label"]:
            return fields(label="red" if "always red" in (request.system or "") else "grey")
        assert "wants red" in (request.messages[-1].text or "")
        return json.dumps({"new_instruction": "Say always red."})

    def score(data: Any, output: Any) -> tuple[float, str]:
        return float(output["label"] == "red"), "it wants red"

    world, lm = World(), scripted(answer)
    result = compiled(OptimizerName.GEPA, world=world, lm=lm, metric=CompileMetric(score))
    assert [(one.label, one.score, one.n) for one in world.candidates] == [
        ("baseline", 0.0, 6),
        ("reflection on 0", 1.0, 6),
    ]
    assert result.best == world.candidates[1]
    assert result.best.state.prompts["classify"].instructions == "Say always red."


ELSEWHERE = """
import json, sys
from optimizations.types import OptimizerName
from tests.fakes import scripted
from tests.optimizations.runtime.compiles import World, anything, asked, compiled
world, lm = World(), scripted(anything)
found = {}
for name in OptimizerName:
    world.candidates, before = [], asked(lm)
    compiled(name, world=world, lm=lm)
    found[name.value] = [asked(lm) - before, sorted(map(str, world.memo)), world.found()]
print(json.dumps(found, default=str))
"""


def test_another_process_finds_the_same_candidates() -> None:
    """Nothing depends on the order of sets or on anything else of one process."""
    root = Path(__file__).resolve().parents[3]
    told = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ELSEWHERE],
            env=environment,
            capture_output=True,
            check=True,
            text=True,
        )
        told.append(ran.stdout)
    assert told[0] == told[1]


@pytest.mark.parametrize(("candidates", "trials", "steps"), [(1, 8, 1), (2, 12, 2)])
def test_mipro_ends_well_where_there_is_little_to_search(candidates: int, trials: int, steps: int) -> None:
    params = {"auto": None, "num_candidates": candidates, "num_trials": trials, "minibatch_size": 3}
    world = World()
    result = compiled(OptimizerName.MIPRO_V2, world=world, params=params | {"minibatch_full_eval_steps": steps})
    assert (result.finish_reason, result.error) == (FinishReason.FINISHED, "")
    assert sum(one.is_partial for one in world.candidates) == trials


def test_what_no_database_keeps_is_in_no_state() -> None:
    said = r'{"reasoning": "so\u0000so \ud800", "label": "red"}'
    spec = program(module("classify", "text -> label", "chain_of_thought"), adapter=AdapterName.JSON)
    world, lm = World(), scripted(lambda given, request: said)
    optimizer, built = OptimizerName.BOOTSTRAP_FEW_SHOT, build(spec, Ports())
    best = compiled(optimizer, world=world, lm=lm, built=built, score=lambda data, output: (1.0, "")).best
    assert best
    demos = best.state.prompts["classify"].demos
    assert [demo["_example"] for demo in demos] == ["e-0", "e-1", "e-2"]
    assert "\x00" not in demos[0]["reasoning"]
    demos[0]["reasoning"].encode()
