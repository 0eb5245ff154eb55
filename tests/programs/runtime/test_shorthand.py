from __future__ import annotations

import sys

import pytest

from mlops.errors import Invalid
from programs.runtime.shorthand import MAX_FIELDS, MAX_LENGTH, parse
from programs.types import FieldSpec, FieldType


def test_reads_the_example_of_the_documentation() -> None:
    assert parse("question: str, context: list[str] -> answer: str") == (
        FieldSpec("question"),
        FieldSpec("context", is_list=True),
        FieldSpec("answer", is_input=False),
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("str", FieldType.STRING),
        ("string", FieldType.STRING),
        ("int", FieldType.INTEGER),
        ("integer", FieldType.INTEGER),
        ("float", FieldType.NUMBER),
        ("number", FieldType.NUMBER),
        ("bool", FieldType.BOOLEAN),
        ("boolean", FieldType.BOOLEAN),
        ("date", FieldType.DATE),
        ("object", FieldType.OBJECT),
        ("dict", FieldType.OBJECT),
    ],
)
def test_knows_the_types(written: str, expected: FieldType) -> None:
    assert parse(f"a: {written} -> b: list[{written}]") == (
        FieldSpec("a", expected),
        FieldSpec("b", expected, is_list=True, is_input=False),
    )


def test_reads_choices_defaults_and_optional_fields() -> None:
    fields = parse(
        "a: enum[x, 'y z', \"it's\"] = x, n: int?, d = 'd\\'s', t: list[int] = [1, -2] -> o: Literal['p'], f: bool=true"
    )
    assert fields == (
        FieldSpec("a", FieldType.ENUM, choices=("x", "y z", "it's"), required=False, has_default=True, default="x"),
        FieldSpec("n", FieldType.INTEGER, required=False),
        FieldSpec("d", required=False, has_default=True, default="d's"),
        FieldSpec("t", FieldType.INTEGER, is_list=True, required=False, has_default=True, default=[1, -2]),
        FieldSpec("o", FieldType.ENUM, is_input=False, choices=("p",)),
        FieldSpec("f", FieldType.BOOLEAN, is_input=False, required=False, has_default=True, default=True),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected a field name, found the end. (at position 0)"),
        ("   ", "Expected a field name, found the end. (at position 0)"),
        ("a: str", "Expected '->' between inputs and outputs, found the end. (at position 6)"),
        ("-> b", "Expected a field name, found '->'. (at position 0)"),
        ("a ->", "Expected a field name, found the end. (at position 4)"),
        ("a, -> b", "Expected a field name, found '->'. (at position 3)"),
        ("a -> b -> c", "Expected the end, found '->'. (at position 7)"),
        ("a: 3 -> b", "Expected a type, found '3'. (at position 3)"),
        ("a; -> b", "Unexpected ';'. (at position 1)"),
        ("x: os.environ -> y", "Unexpected '.'. (at position 5)"),
        ("x = __import__('os') -> y", "Unexpected '('. (at position 14)"),
        ("a: list[list[str]] -> b", "A list of lists is not supported; use an object. (at position 8)"),
        ("a: enum[] -> b", "Expected a choice, found ']'. (at position 8)"),
        ("a: enum[x, x] -> b", "A choice is there twice. (at position 14)"),
        ("a = [[1]] -> b", "Expected a value, found '['. (at position 5)"),
        ("a: 'str -> b", 'Unexpected "\'". (at position 3)'),
        ("a: str\x00 -> b", "Unexpected '\\x00'. (at position 6)"),
    ],
)
def test_says_where_it_stopped(text: str, message: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse(text)
    assert (refusal.value.code, refusal.value.message) == ("shorthand_invalid", message)


def test_reports_every_bad_name_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        parse("config, a, a, Big -> lm, class")
    assert [(problem.code, problem.field) for problem in refusal.value.problems] == [
        ("reserved_field_name", "config"),
        ("duplicate_field", "a"),
        ("bad_field_name", "Big"),
        ("reserved_field_name", "lm"),
        ("reserved_field_name", "class"),
    ]


@pytest.mark.parametrize("name", ["this", "antigravity", "ctypes"])
def test_imports_nothing(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(Invalid, match=f"Unknown type '{name}'"):
        parse(f"x: {name} -> y")
    assert set(sys.modules) == before


def test_bounds_its_input() -> None:
    with pytest.raises(Invalid, match="Longer than"):
        parse("a -> " + "b" * MAX_LENGTH)
    with pytest.raises(Invalid, match="More than"):
        parse(", ".join(f"f{number}" for number in range(MAX_FIELDS)) + " -> b")
    with pytest.raises(Invalid, match="list of lists"):
        parse("a: " + "list[" * 500 + " -> b")
