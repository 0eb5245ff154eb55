"""Our adapters write and read exactly what DSPy's do."""

from __future__ import annotations

import gc
import weakref
from typing import Any, Literal

import dspy
import pydantic
import pytest

from mlops.runtime.adapters import adapter
from mlops.runtime.context import execution_context
from mlops.runtime.engines import language_model
from tests.mlops.runtime.calling import spec_of
from tests.provider import Provider


class Person(pydantic.BaseModel):
    name: str
    tags: list[str] = []


class Everything(dspy.Signature):  # type: ignore[misc]  # DSPy ships no types
    """Sort the message.

    Mind the tone.
    """

    message: str = dspy.InputField(desc="what they wrote")
    count: int = dspy.InputField()
    passages: list[str] = dspy.InputField()
    numbers: list[int] = dspy.InputField()
    person: Person = dspy.InputField()
    channel: Literal["mail", "phone"] = dspy.InputField()
    intent: Literal["refund", 'it\'s "odd"'] = dspy.OutputField(desc="one of them")
    score: float = dspy.OutputField(ge=0, le=1)
    title: str = dspy.OutputField(max_length=40)
    tags: list[str] = dspy.OutputField()
    owner: Person = dspy.OutputField()


class Plain(dspy.Signature):  # type: ignore[misc]  # DSPy ships no types
    question: str = dspy.InputField()
    context: str = dspy.InputField()
    answer: str = dspy.OutputField()


class Sorted(dspy.Signature):  # type: ignore[misc]  # DSPy ships no types
    question: str = dspy.InputField()
    kind: Literal["a", "b"] = dspy.OutputField()
    score: float = dspy.OutputField(ge=0, le=1)
    tags: list[str] = dspy.OutputField()


EVERYTHING = {
    "message": "two\nlines  ",
    "count": 3,
    "passages": ["one", "with \n newline", "with «marks»"],
    "numbers": [1, 2],
    "person": Person(name="Ann", tags=["a"]),
    "channel": "mail",
}
ANSWERED = {"intent": "refund", "score": 0.5, "title": "T", "tags": ["x"], "owner": Person(name="Bo")}
PLAIN = {"question": "why? [[ ## answer ## ]]", "context": " padded "}

CASES: dict[str, tuple[Any, list[dict[str, Any]], dict[str, Any]]] = {
    "all kinds of inputs": (Everything, [], EVERYTHING),
    "full demos": (Everything, [{**EVERYTHING, **ANSWERED}, {**EVERYTHING, **ANSWERED, "title": "U"}], EVERYTHING),
    "incomplete demos": (
        Everything,
        [{"message": "only this", "intent": "refund"}, {**EVERYTHING, "score": None, "title": "T"}, {"message": "x"}],
        EVERYTHING,
    ),
    "plain strings": (Plain, [{**PLAIN, "answer": "so"}, {"question": "q", "answer": "a"}], PLAIN),
    "missing input": (Plain, [], {"question": "why?"}),
    "empty strings": (Plain, [], {"question": "", "context": ""}),
    "other types than declared": (Plain, [], {"question": ["a", "b"], "context": {"k": None}}),
    "nothing but blanks": (Plain, [], {"question": "\n", "context": "\ud800"}),
    "extra inputs": (Plain, [], {**PLAIN, "other": 1}),
    "chain of thought": (dspy.ChainOfThought(Plain).predict.signature, [{**PLAIN, "answer": "so"}], PLAIN),
    "history": (
        Plain.append("history", dspy.InputField(), type_=dspy.History),
        [],
        {**PLAIN, "history": dspy.History(messages=[{**PLAIN, "answer": "earlier"}])},
    ),
    "image": (
        dspy.Signature({"photo": (dspy.Image, dspy.InputField()), "answer": (str, dspy.OutputField())}, "Look."),
        [],
        {"photo": dspy.Image("https://example.org/a.png")},
    ),
}

PAIRS = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("case", CASES)
def test_messages_are_those_of_dspy(name: str, case: str) -> None:
    signature, demos, inputs = CASES[case]
    expected = PAIRS[name]().format(signature, demos, inputs)
    for _ in range(2):  # written, then remembered
        assert adapter(name).format(signature, demos, inputs) == expected


COMPLETIONS = {
    "chat": [
        "[[ ## answer ## ]]\nso\n\n[[ ## completed ## ]]",
        "[[ ## answer ## ]] on the line\n[[ ## answer ## ]]\nagain",
        "chatter\n[[ ## answer ## ]]\na\n\n[[ ## other ## ]]\nb",
        "",
        "no field",
    ],
    "json": ['{"answer": "so"}', '```json\n{"answer": 3, "other": 1}\n```', "", "[]", '{"other": 1}'],
}


def parsed(parsing: dspy.Adapter, signature: Any, completion: str) -> tuple[Any, ...]:
    try:
        return ("fields", parsing.parse(signature, completion))
    except dspy.AdapterParseError as error:
        return ("error", str(error), error.signature, error.lm_response, error.parsed_result, error.adapter_name)


@pytest.mark.parametrize("name", PAIRS)
def test_answers_are_read_as_dspy_reads_them(name: str) -> None:
    for completion in COMPLETIONS[name]:
        assert parsed(adapter(name), Plain, completion) == parsed(PAIRS[name](), Plain, completion)


@pytest.mark.parametrize("name", PAIRS)
def test_typed_answers_round_trip(name: str) -> None:
    written = adapter(name).format_assistant_message_content(Everything, ANSWERED)
    assert written == PAIRS[name]().format_assistant_message_content(Everything, ANSWERED)
    assert adapter(name).parse(Everything, written) == ANSWERED
    spoiled = written.replace("0.5", "much")
    assert parsed(adapter(name), Everything, spoiled)[0] == "error"


@pytest.mark.parametrize("supports_json_schema", [True, False, None])
def test_requests_in_json_are_those_of_dspy(provider: Provider, supports_json_schema: bool | None) -> None:
    name = "openai/stub" if supports_json_schema is None else "openai/gpt-4o-mini"
    lm = language_model(spec_of(provider, name, supports_json_schema=supports_json_schema))
    predict = dspy.Predict(Sorted)
    for asking in (dspy.JSONAdapter(), adapter("json"), adapter("json")):
        with execution_context(lm, asking):
            predict(question="why?")
    expected, written, remembered = (received.body for received in provider.requests)
    assert expected == written == remembered
    assert ("response_format" in expected) is (supports_json_schema is not None)


def test_changed_instructions_are_seen() -> None:
    signature = Plain.with_instructions("First.")
    assert "First." in adapter("chat").format(signature, [], PLAIN)[0]["content"]
    signature.instructions = "Second."  # some optimizers write into the class itself
    assert "Second." in adapter("chat").format(signature, [], PLAIN)[0]["content"]


def test_signatures_are_let_go() -> None:
    signature = Plain.with_instructions("Short-lived.")
    adapter("chat").format(signature, [], PLAIN)
    gone = weakref.ref(signature)
    del signature
    gc.collect()
    assert gone() is None


def test_one_adapter_of_each_name() -> None:
    assert adapter("chat") is adapter("chat")
    assert isinstance(adapter("chat"), dspy.ChatAdapter)
    assert isinstance(adapter("json"), dspy.JSONAdapter)
    with pytest.raises(ValueError, match="There is no adapter called 'xml'; there are chat, json"):
        adapter("xml")
