"""Input and output against fields: the bad inputs of every edge end here."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import pytest

from mlops.errors import Invalid
from programs.runtime.checks import InputCheck, InvalidOutput, OutputCheck, as_plain, validate_input
from programs.runtime.field_types import value_type
from programs.runtime.shorthand import parse
from programs.types import FieldSpec, FieldType

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "copy": {"type": "integer"},
        "roles": {"type": "array", "items": {"enum": ["x", "y"]}},
    },
    "required": ["name"],
    "additionalProperties": False,
}
FIELDS = (
    *parse("text: str, count: int, share: float, sure: bool, day: date, kind: enum[a, b], tags: list[str] -> out")[:-1],
    FieldSpec("person", FieldType.OBJECT, schema=PERSON),
    FieldSpec("scores", FieldType.INTEGER, is_list=True, constraints={"ge": 3, "max_length": 2}),
)
GOOD: dict[str, Any] = {
    "text": "Grüße \N{PARTY POPPER}",
    "count": 10**30,
    "share": 1,
    "sure": False,
    "day": "2026-02-28",
    "kind": "b",
    "tags": ["a", ""],
    "person": {"name": "Ann", "copy": 2},
    "scores": [3, 4],
}
CHECK = InputCheck(FIELDS)


def problems(change: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in CHECK.problems({**GOOD, **change})]


def test_passes_what_fits_unchanged() -> None:
    assert CHECK.validate(GOOD) == GOOD
    assert validate_input(FIELDS, GOOD) == GOOD


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"count": "1"}, [("wrong_type", "count")]),
        ({"count": True}, [("wrong_type", "count")]),
        ({"count": 1.0}, [("wrong_type", "count")]),
        ({"share": "0.5"}, [("wrong_type", "share")]),
        ({"share": True}, [("wrong_type", "share")]),
        ({"share": math.nan}, [("not_a_number", "share")]),
        ({"share": math.inf}, [("not_a_number", "share")]),
        ({"sure": 1}, [("wrong_type", "sure")]),
        ({"sure": "true"}, [("wrong_type", "sure")]),
        ({"day": "28.2.2026"}, [("wrong_type", "day")]),
        ({"day": "2026-02-30"}, [("wrong_type", "day")]),
        ({"day": "2026-02-28T00:00:00"}, [("wrong_type", "day")]),
        ({"day": 1}, [("wrong_type", "day")]),
        ({"day": date(2026, 2, 28)}, [("wrong_type", "day")]),
        ({"kind": "c"}, [("not_a_choice", "kind")]),
        ({"tags": "a"}, [("wrong_type", "tags")]),
        ({"tags": ["a", 1]}, [("wrong_type", "tags.1")]),
        ({"tags": ["a", None]}, [("wrong_type", "tags.1")]),
        ({"tags": ["a", "\x00"]}, [("unstorable_text", "tags.1")]),
        ({"text": None}, [("null", "text")]),
        ({"text": "\x00"}, [("unstorable_text", "text")]),
        ({"text": "\ud800"}, [("unstorable_text", "text")]),
        ({"text": {"a": 1}}, [("wrong_type", "text")]),
        ({"text": {1, 2}}, [("wrong_type", "text")]),
        ({"count": 10**5000}, [("number_too_large", "count")]),
        (
            {"person": {"name": "abcdef", "copy": "1", "roles": ["x", "z"]}},
            [("constraint", "person.name"), ("wrong_type", "person.copy"), ("not_a_choice", "person.roles.1")],
        ),
        ({"person": {"more": 1}}, [("missing", "person.name"), ("unknown_field", "person.more")]),
        ({"scores": [3, 2]}, [("constraint", "scores.1")]),
        ({"scores": [3, 3, 3]}, [("constraint", "scores")]),
        ({"config": {"api_base": "http://x"}}, [("unknown_field", "config")]),
        (
            {"lm": "x", "demos": [], "signature": "a -> b"},
            [("unknown_field", "lm"), ("unknown_field", "demos"), ("unknown_field", "signature")],
        ),
        ({"a\x00": 1}, [("unstorable_text", "a\\x00")]),
    ],
)
def test_refuses_with_the_path(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert problems(change) == expected


def test_reports_everything_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        CHECK.validate({"count": "1", "tags": [1], "text": None, "share": math.nan, "config": {}})
    assert refusal.value.code == "invalid_input"
    assert [(problem.code, problem.field) for problem in refusal.value.problems] == [
        ("null", "text"),
        ("not_a_number", "share"),
        ("wrong_type", "count"),
        ("missing", "sure"),
        ("missing", "day"),
        ("missing", "kind"),
        ("wrong_type", "tags.0"),
        ("missing", "person"),
        ("missing", "scores"),
        ("unknown_field", "config"),
    ]


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_refuses_what_is_no_object(raw: Any) -> None:
    assert [problem.code for problem in CHECK.problems(raw)] == ["wrong_type"]


def test_refuses_deep_nesting() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"x": deep}
    check = InputCheck([FieldSpec("any", FieldType.OBJECT)])
    assert [problem.code for problem in check.problems({"any": deep})] == ["too_deep"]


def test_messages_do_not_repeat_values() -> None:
    found = CHECK.problems({**GOOD, "count": "secret", "kind": "secret", "scores": ["secret"]})
    assert len(found) == 3
    assert not any("secret" in problem.message for problem in found)


def test_fills_in_defaults_and_leaves_optional_fields_out() -> None:
    check = InputCheck(parse("a, b: int = 3, c: list[str] = ['x'], d? -> e")[:-1])
    first = check.validate({"a": "1"})
    assert first == {"a": "1", "b": 3, "c": ["x"]}
    first["c"].append("changed")
    assert check.validate({"a": "1", "d": None, "b": None}) == {"a": "1", "b": 3, "c": ["x"]}


def test_the_json_schema_has_no_references() -> None:
    schema = {
        "type": "object",
        "properties": {"owner": {"$ref": "#/$defs/person"}},
        "$defs": {"person": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
    }
    found = InputCheck(
        [FieldSpec("car", FieldType.OBJECT, schema=schema), FieldSpec("n", FieldType.INTEGER)]
    ).json_schema()
    assert found["required"] == ["car", "n"]
    assert found["properties"]["n"]["type"] == "integer"
    assert found["properties"]["car"]["properties"]["owner"]["properties"]["name"]["type"] == "string"
    assert "$" not in str(found)


def test_output_becomes_plain_json() -> None:
    person = value_type(FieldSpec("person", FieldType.OBJECT, schema=PERSON)).model_validate({"name": "Ann", "copy": 1})
    check = OutputCheck(
        [
            FieldSpec("person", FieldType.OBJECT, schema=PERSON, is_input=False),
            FieldSpec("days", FieldType.DATE, is_list=True, is_input=False),
            FieldSpec("note", required=False, is_input=False),
        ]
    )
    given = {"person": person, "days": [date(2026, 1, 2)], "other": object()}
    expected = {"person": {"name": "Ann", "copy": 1}, "days": ["2026-01-02"], "note": None}
    assert check.validate(given) == (expected, False)


def test_output_holds_constraints() -> None:
    check = OutputCheck([FieldSpec("score", FieldType.NUMBER, is_input=False, constraints={"le": 1})])
    assert check.validate({"score": 0.5}) == ({"score": 0.5}, False)
    with pytest.raises(InvalidOutput) as refusal:
        check.validate({"score": 7.0})
    assert [(problem.code, problem.field) for problem in refusal.value.problems] == [("constraint", "score")]


def test_output_with_unstorable_characters_is_replaced_and_said_so() -> None:
    check = OutputCheck([FieldSpec("text", is_input=False), FieldSpec("share", FieldType.NUMBER, required=False)])
    assert check.validate({"text": "a\x00b\ud800", "share": math.nan}) == (
        {"text": "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}", "share": None},
        True,
    )


def test_unknown_objects_become_text() -> None:
    class Thing:
        def __str__(self) -> str:
            return "thing"

    assert as_plain({"a": (Thing(), {1})}) == {"a": ["thing", [1]]}
