from __future__ import annotations

import warnings
from datetime import date
from typing import Any

import dspy
import pytest

from programs.runtime.field_types import problems_of_field
from programs.runtime.names import RESERVED_NAMES, problem_of_name
from programs.runtime.shorthand import parse
from programs.runtime.signatures import build_signature, problems_of_signature
from programs.types import FieldSpec, FieldType, SignatureSpec


def found(**field: Any) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in problems_of_field(FieldSpec("f", **field))]


@pytest.mark.parametrize(
    "name",
    [
        "config",
        "lm",
        "demos",
        "signature",
        "reasoning",
        "history",
        "tools",
        "trajectory",
        "items",
        "inputs",
        "copy",
        "class",
        "model_x",
        "completed",
    ],
)
def test_reserves_the_names_of_dspy(name: str) -> None:
    problem = problem_of_name(name)
    assert problem
    assert problem.code == "reserved_field_name"


@pytest.mark.parametrize("name", ["", "A", "_a", "1a", "a-b", "a.b", "a b", "é", "a" * 64, "a\n"])
def test_refuses_what_is_no_name(name: str) -> None:
    problem = problem_of_name(name)
    assert problem
    assert problem.code == "bad_field_name"


def test_every_other_name_works_in_dspy() -> None:
    names = ["query", "passages", "text", "label", "date", "type", "id", "list", "str", "desc", "name", "answer"]
    assert not RESERVED_NAMES & set(names)
    fields = (FieldSpec("question"), *(FieldSpec(name, is_input=False) for name in names))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built = build_signature(SignatureSpec("all", "", fields))
    assert list(built.output_fields) == names


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"type": FieldType.ENUM}, [("missing_choices", "f.choices")]),
        ({"type": FieldType.ENUM, "choices": ("a", "a")}, [("duplicate_choice", "f.choices")]),
        ({"type": FieldType.ENUM, "choices": ("a", " ")}, [("bad_choices", "f.choices")]),
        ({"type": FieldType.ENUM, "choices": ("a", 1)}, [("bad_choices", "f.choices")]),
        ({"type": FieldType.ENUM, "choices": ("a", "\x00")}, [("unstorable_text", "f.choices.1")]),
        ({"choices": ("a",)}, [("unexpected_choices", "f.choices")]),
        ({"schema": {"type": "object"}}, [("unexpected_schema", "f.schema")]),
        ({"constraints": {"ge": 1}}, [("unknown_constraint", "f.constraints.ge")]),
        (
            {"type": FieldType.INTEGER, "constraints": {"min_length": 1}},
            [("unknown_constraint", "f.constraints.min_length")],
        ),
        ({"type": FieldType.INTEGER, "constraints": {"ge": "1"}}, [("bad_constraint", "f.constraints.ge")]),
        (
            {"type": FieldType.INTEGER, "constraints": {"multiple_of": 0}},
            [("bad_constraint", "f.constraints.multiple_of")],
        ),
        ({"constraints": {"max_length": -1}}, [("bad_constraint", "f.constraints.max_length")]),
        ({"constraints": {"pattern": "("}}, [("bad_constraint", "f.constraints.pattern")]),
        ({"constraints": {"pattern": 3}}, [("bad_constraint", "f.constraints.pattern")]),
        ({"type": FieldType.INTEGER, "has_default": True, "default": "1"}, [("bad_default", "f.default")]),
        ({"type": FieldType.DATE, "has_default": True, "default": "soon"}, [("bad_default", "f.default")]),
        ({"has_default": True, "default": "\x00"}, [("unstorable_text", "f.default")]),
        ({"constraints": {"max_length": 2}, "has_default": True, "default": "abc"}, [("bad_default", "f.default")]),
        ({"constraints": {"pattern": "^a+$", "max_length": 2}, "has_default": True, "default": "aa"}, []),
        ({"type": FieldType.NUMBER, "is_list": True, "constraints": {"ge": 0, "max_length": 2}}, []),
    ],
)
def test_problems_of_a_field(field: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert found(**field) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, ("unsupported_schema", "f.schema.type")),
        ({"type": "object", "patternProperties": {}}, ("unsupported_schema", "f.schema.patternProperties")),
        ({"type": "object", "required": ["a"]}, ("unsupported_schema", "f.schema.required")),
        (
            {"type": "object", "properties": {"a": {"$ref": "https://example.org/a"}}},
            ("unsupported_schema", "f.schema.properties.a.$ref"),
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/a"}},
                "$defs": {"a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/a"}}}},
            },
            ("unsupported_schema", "f.schema.properties.a.$ref.properties.b.$ref"),
        ),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, ("bad_schema", "f.schema")),
        (
            {"type": "object", "properties": {"a": {"type": "tuple"}}},
            ("unsupported_schema", "f.schema.properties.a.type"),
        ),
        (
            {"type": "object", "properties": {"a": {"enum": [1.5]}}},
            ("unsupported_schema", "f.schema.properties.a.enum"),
        ),
        ({"type": "object", "properties": {"a": 3}}, ("unsupported_schema", "f.schema.properties.a")),
        ({"type": "object", "properties": {"a": {"oneOf": []}}}, ("unsupported_schema", "f.schema.properties.a.oneOf")),
    ],
)
def test_refuses_schemas_that_it_would_not_hold(schema: dict[str, Any], expected: tuple[str, str]) -> None:
    assert found(type=FieldType.OBJECT, schema=schema) == [expected]


def test_bounds_the_depth_of_a_schema() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(20):
        schema = {"type": "object", "properties": {"a": schema}}
    assert [code for code, _ in found(type=FieldType.OBJECT, schema=schema)] == ["too_deep"]
    nine: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "array"}}}
    for _ in range(9):
        nine["properties"]["a"] = {"type": "array", "items": nine["properties"]["a"]}
    assert [code for code, _ in found(type=FieldType.OBJECT, schema=nine)] == ["unsupported_schema"]


def test_accepts_the_documented_schema_words() -> None:
    schema = {
        "type": "object",
        "title": "Order",
        "properties": {
            "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}},
            "note": {"type": ["string", "null"], "maxLength": 9},
            "either": {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]},
            "1st": {"type": "boolean", "default": True},
            "free": {"type": "object", "additionalProperties": {"type": "number"}},
        },
        "required": ["lines"],
        "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}},
    }
    assert found(type=FieldType.OBJECT, schema=schema) == []


def test_problems_of_a_signature_come_all_at_once() -> None:
    signature = SignatureSpec("s", "\x00", (FieldSpec("a"), FieldSpec("a"), FieldSpec("lm")))
    assert [(problem.code, problem.field) for problem in problems_of_signature(signature)] == [
        ("reserved_field_name", "lm"),
        ("duplicate_field", "a"),
        ("missing_outputs", "fields"),
        ("unstorable_text", "instructions"),
    ]
    assert [problem.code for problem in problems_of_signature(SignatureSpec("s", "", ()))] == [
        "missing_inputs",
        "missing_outputs",
    ]


def test_builds_types_descriptions_and_instructions() -> None:
    fields = parse("text, day: date = '2026-01-02', note? -> kind: enum[a, b], tags: list[str]")
    score = FieldSpec("score", FieldType.NUMBER, is_input=False, description="How sure", constraints={"ge": 0, "le": 1})
    built = build_signature(SignatureSpec("my-sig", "Do it.", (*fields, score)))
    assert built.instructions == "Do it."
    assert built.__name__ == "MySig"
    assert [(name, info.annotation) for name, info in built.input_fields.items()] == [
        ("text", str),
        ("day", date),
        ("note", str | None),
    ]
    assert built.input_fields["day"].default == date(2026, 1, 2)
    assert str(built.output_fields["kind"].annotation) == "typing.Literal['a', 'b']"
    assert built.output_fields["tags"].annotation == list[str]
    assert built.output_fields["score"].json_schema_extra["desc"] == "How sure"
    prompt = dspy.ChatAdapter().format_system_message(built)
    assert "greater than or equal to: 0, less than or equal to: 1" in prompt


def test_other_instructions_stand_in() -> None:
    spec = SignatureSpec("s", "Old.", parse("a -> b"))
    assert build_signature(spec, "New.").instructions == "New."
    assert build_signature(SignatureSpec("s", "", parse("a -> b"))).instructions == (
        "Given the fields `a`, produce the fields `b`."
    )
