from __future__ import annotations

import asyncio
import json
from typing import Any

import dspy
import pytest
from dspy import lm15

from executions.runtime.run import partial_result, run
from executions.types import RunError, RunResult
from mlops.runtime.recorder import Recorder
from mlops.types import TokenUsage
from programs.runtime.build import build
from programs.runtime.built import BuiltProgram
from programs.runtime.ports import Ports
from programs.types import AdapterName, FieldSpec, FieldType, ModuleKind, ModuleSpec, PromptSpec, SignatureSpec
from tests.fakes import PRICE, Answer, fields, scripted, spec_of
from tests.programs.runtime.specs import module, program

ECHO = build(program(module("answer", "question -> answer", "chain_of_thought")), Ports())


def echo(given: dict[str, str], request: Any) -> str:
    return fields(reasoning="because", answer="to " + given["question"])


async def arun(
    program: BuiltProgram,
    answer: Answer,
    values: Any,
    *,
    delay_s: float = 0.0,
    deadline_s: float = 30.0,
    recorder: Recorder | None = None,
) -> RunResult:
    lm = scripted(answer, delay_s=delay_s)
    return await run(
        program,
        values,
        models={"": spec_of()},
        deadline_s=deadline_s,
        recorder=recorder,
        language_model_of=lambda spec: lm,
    )


def result_of(program: BuiltProgram, answer: Answer, values: Any, **options: Any) -> RunResult:
    return asyncio.run(arun(program, answer, values, **options))


def test_gives_output_usage_cost_and_trace() -> None:
    result = result_of(ECHO, echo, {"question": "why"})
    assert (result.output, result.error, result.flags) == ({"answer": "to why"}, None, ())
    lines = {
        "total": 15,
        "input": 10,
        "output": 5,
        "cached": 0,
        "reasoning": 0,
        "cache_write": 0,
        "requests": 0,
        "largest_input": 0,
        "unpriced": 0,
    }
    assert result.cost == 10 * PRICE.input + 5 * PRICE.output
    assert result.token_usage == {**lines, "by_model": {"fake/model": {**lines, "cost": result.cost}}}
    assert result.prices == ("price-1",)
    assert result.duration_ms > 0
    module_span, llm_span = result.trace["spans"]
    assert (module_span["input"], module_span["output"]) == (
        {"question": "why"},
        {"reasoning": "because", "answer": "to why"},
    )
    assert (llm_span["parent"], llm_span["kind"], llm_span["module"]) == (module_span["id"], "llm", "answer")
    json.dumps(result.trace, allow_nan=False)


def test_each_named_language_model_is_asked_for_by_its_id() -> None:
    spec = program(module("a", "question -> draft", language_model="m-2"), module("b", "draft -> answer"))
    asked: list[str] = []

    def language_model_of(wanted: Any) -> dspy.LM:
        asked.append(wanted.name)
        return scripted(lambda given, request: fields(draft="d", answer="a"), name=wanted.name)

    models = {"": spec_of("one/x"), "m-2": spec_of("two/y"), "m-3": spec_of("three/z")}
    made = build(spec, Ports())
    result = asyncio.run(run(made, {"question": "?"}, models=models, deadline_s=9, language_model_of=language_model_of))
    assert (result.output, result.error) == ({"answer": "a"}, None)
    assert asked == ["one/x", "two/y"]
    assert result.by_model == {"one/x": TokenUsage(10, 5), "two/y": TokenUsage(10, 5)}
    del models["m-2"]
    result = asyncio.run(run(made, {"question": "?"}, models=models, deadline_s=9, language_model_of=language_model_of))
    assert result.error == RunError("invalid_request", "The language model m-2 was not brought to this run.", "a")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("garbage", "The model's answer lacks fields: reasoning, score."),
        ("", "The model's answer lacks fields: reasoning, score."),
        (fields(reasoning="r"), "The model's answer lacks fields: score."),
        (fields(reasoning="r", score="many"), "The model's answer has no usable value for the field score."),
        (fields(reasoning="r", score="7"), "The output does not fit: score: Input should be less than or equal to 1."),
        (fields(reasoning="r", score="nan"), "The output does not fit: score: This field is required."),
    ],
)
def test_an_answer_that_does_not_fit_names_the_field_and_is_paid_for(said: str, message: str) -> None:
    signature = SignatureSpec(
        "s", "", (FieldSpec("q"), FieldSpec("score", FieldType.NUMBER, is_input=False, constraints={"le": 1}))
    )
    made = build(program(ModuleSpec("judge", ModuleKind.CHAIN_OF_THOUGHT, signature)), Ports())
    result = result_of(made, lambda given, request: said, {"q": "x"})
    assert result.output is None
    assert result.error
    assert (result.error.code, result.error.module) == ("unparsable_output", "judge")
    assert result.error.message.startswith(message)
    assert said not in result.error.message or not said
    assert result.usage.total >= 15
    assert result.cost
    assert "garbage" not in result.error.message


def test_the_json_adapter_names_the_field_too() -> None:
    made = build(program(module("a", "q -> size: int"), adapter=AdapterName.JSON), Ports())
    result = result_of(made, lambda given, request: '{"size": "large"}', {"q": "x"})
    message = "The model's answer has no usable value for the field size."
    assert result.error == RunError("unparsable_output", message, "a")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (lm15.RateLimitError("slow down"), "rate_limited"),
        (lm15.ServerError("broken"), "provider_unavailable"),
        (lm15.AuthError("bad key sk-123"), "authentication"),
        (lm15.ContextLengthError("too long"), "context_window"),
        (lm15.TimeoutError("late"), "timeout"),
        (RuntimeError("/etc/secret"), "unknown"),
    ],
)
def test_errors_of_the_model_have_their_code_and_module(error: Exception, code: str) -> None:
    result = result_of(ECHO, lambda given, request: error, {"question": "?"})
    assert result.error
    assert (result.error.code, result.error.module) == (code, "answer")
    assert not any(secret in result.error.message for secret in ("sk-123", "/etc/secret"))
    assert result.trace["spans"][0]["error"]


def test_the_deadline_ends_a_run() -> None:
    result = result_of(ECHO, echo, {"question": "?"}, delay_s=30, deadline_s=0.05)
    assert result.error == RunError("timeout", "The deadline of 0.05 s has passed.")
    assert [span["error"] for span in result.trace["spans"]] == ["CancelledError"]


def test_a_cancelled_run_leaves_what_it_used_in_the_recorder() -> None:
    reached = asyncio.Event()

    class Waiting(dspy.Module):  # type: ignore[misc]
        async def aforward(self, **inputs: Any) -> dspy.Prediction:
            reached.set()
            await asyncio.sleep(60)
            return dspy.Prediction(answer="never")

    spec = program(module("a", "question -> draft"), module("b", "draft -> answer", "custom", module="waiting"))
    made = build(spec, Ports(custom_modules={"waiting": Waiting}))
    recorder = Recorder()

    async def cancelled() -> None:
        run_of_two = arun(made, lambda given, request: fields(draft="d"), {"question": "?"}, recorder=recorder)
        task = asyncio.create_task(run_of_two)
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    result = partial_result(recorder, RunError("cancelled", "Cancelled."))
    assert (result.output, result.usage.total, result.cost) == (None, 15, 20_000_000)
    assert [span["name"] for span in result.trace["spans"]] == ["a", "fake/model", "b"]


def test_unstorable_characters_of_a_model_are_replaced_and_flagged() -> None:
    result = result_of(ECHO, lambda given, request: fields(reasoning="r", answer="a\x00b\ud800c"), {"question": "?"})
    assert result.error is None
    assert result.output == {"answer": "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"}
    assert result.flags == ("unstorable_replaced",)
    json.dumps(result.trace, ensure_ascii=False).encode()
    assert "\x00" not in json.dumps(result.trace, ensure_ascii=False)


def test_dates_objects_and_lists_come_back_as_json() -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    outputs = (
        FieldSpec("day", FieldType.DATE, is_input=False),
        FieldSpec("people", FieldType.OBJECT, is_list=True, is_input=False, schema=schema),
        FieldSpec("kind", FieldType.ENUM, is_input=False, choices=("a", "b")),
        FieldSpec("free", FieldType.OBJECT, is_input=False),
        FieldSpec("note", FieldType.INTEGER, is_input=False, required=False),
    )
    signature = SignatureSpec("s", "", (FieldSpec("day_before", FieldType.DATE), *outputs))
    said = {"day": "2026-02-28", "people": [{"name": "Ann"}], "kind": "b", "free": {"x": [1]}}
    for adapter, text in ((AdapterName.CHAT, fields(**said)), (AdapterName.JSON, json.dumps(said))):
        made = build(program(ModuleSpec("a", ModuleKind.PREDICT, signature), adapter=adapter), Ports())
        result = result_of(made, lambda given, request, text=text: text, {"day_before": "2026-02-27"})  # type: ignore[misc]
        assert result.error is None
        assert result.output == {**said, "note": None}


def test_fifty_runs_at_once_share_one_program_without_cross_talk() -> None:
    second = module("b", "question, draft -> answer", "chain_of_thought")
    prompts = [PromptSpec(f"Instruction {number}.", ({"question": f"d{number}", "draft": "x"},)) for number in range(5)]
    shared = [build(program(module("a", "question -> draft", prompt=one), second), Ports()) for one in prompts]

    def answer(given: dict[str, str], request: Any) -> str:
        if "draft" in given:
            return fields(reasoning="r", answer=f"{given['question']}|{given['draft']}")
        return fields(
            draft=f"{given['question']}|{request.messages[0].text.splitlines()[1]}|{' '.join(request.system.split())}"
        )

    async def one(number: int, lm: dspy.LM) -> tuple[int, RunResult]:
        result = await run(
            shared[number % 5],
            {"question": f"q{number}"},
            models={"": spec_of()},
            deadline_s=30,
            language_model_of=lambda spec: lm,
        )
        return number, result

    async def together() -> list[tuple[int, RunResult]]:
        lms = [scripted(answer, name=f"fake/m{number}", delay_s=0.001 * (number % 7)) for number in range(50)]
        return list(await asyncio.gather(*(one(number, lms[number]) for number in range(50))))

    for number, result in asyncio.run(together()):
        assert result.error is None
        assert result.output
        text = result.output["answer"]
        assert text.startswith(f"q{number}|q{number}|d{number % 5}|")
        assert f"Instruction {number % 5}." in text
        assert list(result.by_model) == [f"fake/m{number}"]
        assert result.usage == TokenUsage(20, 10)
        assert [span["kind"] for span in result.trace["spans"]] == ["module", "llm", "module", "llm"]
        assert result.trace["spans"][0]["input"] == {"question": f"q{number}"}
