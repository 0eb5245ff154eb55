from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable
from typing import Any

import dspy
import pytest

from mlops.errors import Invalid
from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.recorder import Recorder, recording
from programs.runtime.build import build, built, problems_of_program
from programs.runtime.built import BuiltProgram
from programs.runtime.modules import ModuleFailed, using_language_models
from programs.runtime.ports import Ports
from programs.runtime.prompts import apply_prompts, prompts_of
from programs.types import ProgramSpec, PromptSpec
from tests.fakes import fields, scripted
from tests.programs.runtime.specs import module, program

PORTS = Ports()


class Shouting(dspy.Module):  # type: ignore[misc]
    """A custom module without an async form; notes its thread."""

    def __init__(self, suffix: str = "!") -> None:
        super().__init__()
        self.suffix = suffix
        self.threads: list[str] = []

    def forward(self, text: str) -> dspy.Prediction:
        self.threads.append(threading.current_thread().name)
        return dspy.Prediction(loud=text.upper() + self.suffix)


class Asking(dspy.Module):  # type: ignore[misc]
    """A custom module with an async form that uses the signature of its row."""

    def __init__(self, signature: type[dspy.Signature]) -> None:
        super().__init__()
        self.ask = dspy.Predict(signature)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        return self.ask(**inputs)

    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        return await self.ask.acall(**inputs)


def run_async(program: BuiltProgram, model: dspy.LM, /, **values: Any) -> tuple[dict[str, Any], Recorder]:
    async def inner() -> dict[str, Any]:
        with recording(recorder), execution_context(model, adapter("chat")):
            return dict((await program.module.acall(**values)).toDict())

    recorder = Recorder()
    return asyncio.run(inner()), recorder


def run_sync(program: BuiltProgram, model: dspy.LM, /, **values: Any) -> tuple[dict[str, Any], Recorder]:
    recorder = Recorder()
    with recording(recorder), execution_context(model, adapter("chat")):
        return dict(program.module(**values).toDict()), recorder


both_ways = pytest.mark.parametrize("run", [run_async, run_sync])
Run = Callable[..., tuple[dict[str, Any], Recorder]]


def tree(recorder: Recorder) -> list[tuple[int | None, str, str]]:
    return [(span.parent, span.kind.value, span.name) for span in recorder.spans]


def upper(given: dict[str, str], request: Any) -> str:
    return fields(**{"reasoning": "because", "y": given.get("x", "").upper(), "z": "<" + given.get("y", "") + ">"})


@both_ways
def test_runs_modules_in_order_with_spans(run: Run) -> None:
    made = build(program(module("a", "x -> y", "chain_of_thought"), module("b", "y -> z")), PORTS)
    output, recorder = run(made, scripted(upper), x="hi")
    assert output == {"z": "<HI>"}
    assert tree(recorder) == [
        (None, "module", "a"),
        (0, "llm", "fake/model"),
        (None, "module", "b"),
        (2, "llm", "fake/model"),
    ]
    assert recorder.spans[0].input == {"x": "hi"}
    assert recorder.spans[0].output == {"reasoning": "because", "y": "HI"}
    assert recorder.usage.total == 30


@both_ways
def test_ignores_what_is_no_input_of_the_program(run: Run) -> None:
    lm = scripted(upper)
    made = build(program(module("a", "x -> y")), PORTS)
    output, _ = run(made, lm, x="hi", config={"temperature": 2}, lm="other", demos=[{"x": 1}], signature="this -> y")
    assert output == {"y": "HI"}
    (request,) = lm.engine.requests
    assert request.config.temperature is None
    assert len(request.messages) == 1


def test_independent_modules_run_at_the_same_time() -> None:
    waiting: list[dict[str, Any]] = []

    async def all_there() -> None:
        while len(waiting) < 3:
            await asyncio.sleep(0)

    class Meeting(dspy.Module):  # type: ignore[misc]
        async def aforward(self, **inputs: Any) -> dspy.Prediction:
            waiting.append(inputs)
            await asyncio.wait_for(all_there(), 5)
            return dspy.Prediction(**{name + "_": "done" for name in inputs})

    ports = Ports(custom_modules={"meeting": Meeting})
    branches = [module(key, f"{key} -> {key}_", "custom", module="meeting") for key in ("p", "q", "r")]
    made = build(program(*branches, outputs=("p_", "q_", "r_")), ports)
    output, recorder = run_async(made, scripted(upper), p="1", q="2", r="3")
    assert output == {"p_": "done", "q_": "done", "r_": "done"}
    assert {span.module for span in recorder.spans} == {"p", "q", "r"}


def test_a_failing_branch_ends_the_others_and_names_itself() -> None:
    def answer(given: dict[str, str], request: Any) -> str | Exception:
        return RuntimeError("no") if "bad" in given.values() else fields(y="fine", z="fine")

    spec = program(module("a", "x -> y"), module("b", "w -> z"), module("c", "y, z -> end"))
    lm = scripted(answer)
    with pytest.raises(ModuleFailed) as failure:
        run_async(build(spec, PORTS), lm, x="good", w="bad")
    assert failure.value.module == "b"
    assert all("end" not in str(request) for request in lm.engine.requests[2:])


@both_ways
def test_learned_state_parameters_and_own_language_model(run: Run) -> None:
    prompt = PromptSpec("Translate.", ({"x": "eins", "y": "one"}, {"x": "zwei", "y": "two"}))
    spec = program(
        module("a", "x -> y", prompt=prompt, parameters={"temperature": 0.5}, language_model="m-2"),
        module("b", "y -> z"),
    )
    made = build(spec, PORTS)
    assert made.language_models == {"m-2"}
    default, other = scripted(upper), scripted(upper, name="other/model")
    with using_language_models({"m-2": other}):
        output, recorder = run(made, default, x="drei")
    assert output == {"z": "<DREI>"}
    (request,) = other.engine.requests
    assert (request.config.temperature, "Translate." in str(request.system)) == (0.5, True)
    assert [message.role for message in request.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert len(default.engine.requests) == 1
    assert set(recorder.by_model) == {"other/model", "fake/model"}
    assert all(predictor.lm is None for predictor in made.module.predictors())


@both_ways
def test_a_language_model_that_is_not_brought_is_an_error(run: Run) -> None:
    with pytest.raises(ModuleFailed) as failure:
        run(build(program(module("a", "x -> y", language_model="m-2")), PORTS), scripted(upper), x="hi")
    assert "m-2" in str(failure.value.__cause__)


@both_ways
def test_retrieves_through_the_port(run: Run) -> None:
    def retrieve(corpus: str, query: str, k: int, search: str) -> list[str]:
        return [f"{corpus}/{query}/{rank}" for rank in range(k)]

    spec = program(
        module("search", kind="retrieve", corpus="kb", k=2, input="question"),
        module("answer", "question, passages: list[str] -> y"),
        outputs=("passages", "y"),
    )
    output, recorder = run(build(spec, Ports(retrieve=retrieve)), scripted(upper), question="why")
    assert output == {"passages": ["kb/why/0", "kb/why/1"], "y": ""}
    assert tree(recorder)[:2] == [(None, "module", "search"), (0, "retriever", "search")]
    assert recorder.spans[1].input == {"query": "why", "corpus": "kb", "k": 2, "search": "bm25"}
    assert recorder.spans[1].output == ["kb/why/0", "kb/why/1"]


def test_retrieves_on_the_loop_when_the_port_can() -> None:
    async def aretrieve(corpus: str, query: str, k: int, search: str) -> list[str]:
        return [query]

    made = build(program(module("search", kind="retrieve", corpus="kb")), Ports(aretrieve=aretrieve))
    assert run_async(made, scripted(upper), query="why")[0] == {"passages": ["why"]}
    with pytest.raises(ModuleFailed):
        run_sync(made, scripted(upper), query="why")


@both_ways
def test_custom_modules_get_arguments_and_run_without_an_async_form(run: Run) -> None:
    spec = program(module("shout", "text -> loud", "custom", module="shouting", arguments={"suffix": "?"}))
    made = build(spec, Ports(custom_modules={"shouting": Shouting}))
    assert run(made, scripted(upper), text="hi")[0] == {"loud": "HI?"}
    (thread,) = made.module.child("shout").inner.threads
    assert (thread == threading.main_thread().name) == (run is run_sync)


@both_ways
def test_custom_modules_may_take_the_signature_of_the_row(run: Run) -> None:
    made = build(program(module("ask", "x -> y", "custom", module="asking")), Ports(custom_modules={"asking": Asking}))
    assert run(made, scripted(upper), x="hi")[0] == {"y": "HI"}


def test_arguments_that_a_custom_module_does_not_take_are_a_problem() -> None:
    spec = program(module("shout", "text -> loud", "custom", module="shouting", arguments={"volume": 3}))
    problems = problems_of_program(spec, Ports(custom_modules={"shouting": Shouting}))
    assert [(problem.code, problem.field) for problem in problems] == [
        ("bad_arguments", "modules.shout.config.arguments")
    ]


def test_problems_with_what_is_outside_come_with_the_others() -> None:
    spec = program(
        module("a", "x -> y", "react", tools=["nothing", {"program": "gone@1"}], colour=1),
        module("b", "y -> z", "custom", module="unheard"),
    )
    expected = [
        ("unknown_config", "modules.a.config.colour"),
        ("unknown_tool", "modules.a.config.tools.0"),
        ("unknown_program", "modules.a.config.tools.1"),
        ("unknown_module", "modules.b.config.module"),
    ]
    assert [(problem.code, problem.field) for problem in problems_of_program(spec, PORTS)] == expected
    with pytest.raises(Invalid) as refusal:
        build(spec, PORTS)
    assert [(problem.code, problem.field) for problem in refusal.value.problems] == expected


def test_builds_are_kept_by_content() -> None:
    spec = program(module("a", "x -> y"), name="kept")
    again = program(module("a", "x -> y"), name="kept")
    other = program(module("a", "x -> y", instructions="Other."), name="kept")
    assert built(spec, PORTS) is built(again, PORTS)
    assert built(spec, PORTS) is not built(other, PORTS)
    assert built(spec, PORTS) is not built(spec, Ports(retrieve=lambda corpus, query, k, search: []))


def test_optimizers_find_predictors_and_their_state_goes_back_and_forth() -> None:
    spec = program(module("a", "x -> y", "chain_of_thought"), module("b", "y -> z"))
    made = build(spec, PORTS)
    assert [name for name, _ in made.module.named_predictors()] == ["m_a.predict", "m_b"]
    compiled = made.module.deepcopy()
    learned = {"a": PromptSpec("Think.", ({"x": "1", "y": "2"},)), "b": PromptSpec("Write.", ())}
    apply_prompts(compiled, learned)
    assert prompts_of(spec, compiled) == learned
    assert prompts_of(spec, made.module)["a"].demos == ()
    assert made.module.plan is compiled.plan


def test_building_does_not_change_the_value() -> None:
    spec = program(module("a", "x -> y", prompt=PromptSpec("Hi.", ({"x": "1", "y": "2"},))))
    before = copy.deepcopy(spec)
    run_async(build(spec, PORTS), scripted(upper), x="hi")
    assert spec == before
    assert isinstance(spec, ProgramSpec)
