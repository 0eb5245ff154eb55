"""Whether an output keeps the schema that a client asks for."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from executions.api.openai.schemas import check_promise
from mlops.errors import Invalid
from programs.runtime.checks import OutputCheck
from programs.types import FieldSpec, FieldType

ADDRESS = {
    "type": "object",
    "properties": {"street": {"type": "string"}, "number": {"type": "integer", "minimum": 1}},
    "required": ["street"],
    "additionalProperties": False,
}
FIELDS = (
    FieldSpec("answer", is_input=False),
    FieldSpec("intent", FieldType.ENUM, is_input=False, choices=("order", "refund")),
    FieldSpec("count", FieldType.INTEGER, is_input=False, constraints={"ge": 0, "le": 10}),
    FieldSpec("sure", FieldType.BOOLEAN, is_input=False),
    FieldSpec("day", FieldType.DATE, is_input=False),
    FieldSpec("tags", is_list=True, is_input=False, constraints={"max_length": 3}),
    FieldSpec("address", FieldType.OBJECT, is_input=False, schema=ADDRESS),
    FieldSpec("anything", FieldType.OBJECT, is_input=False),
)
GIVEN = OutputCheck(FIELDS).json_schema()


def of(name: str, schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False, **more}


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("answer", {}),
        ("answer", True),
        ("answer", {"type": "string", "title": "Answer", "description": "What else?"}),
        ("answer", {"type": ["string", "null"]}),
        ("answer", {"anyOf": [{"type": "null"}, {"type": "string"}]}),
        ("answer", {"allOf": [{"type": "string"}]}),
        ("intent", {"type": "string"}),
        ("intent", {"enum": ["refund", "order", "other"]}),
        ("count", {"type": "number"}),
        ("count", {"type": "integer", "minimum": -1, "maximum": 10}),
        ("sure", {"type": "boolean"}),
        ("day", {"type": "string", "format": "date"}),
        ("tags", {"type": "array", "items": {"type": "string"}, "maxItems": 5}),
        ("address", {"type": "object"}),
        ("address", ADDRESS),
        ("address", {**ADDRESS, "properties": {**ADDRESS["properties"], "city": {}}}),  # type: ignore[dict-item]
        ("anything", {"type": "object", "additionalProperties": True}),
    ],
)
def test_what_the_output_keeps(name: str, schema: Any) -> None:
    assert check_promise(of(name, schema), GIVEN) == (name,)


@pytest.mark.parametrize(
    ("name", "schema", "where"),
    [
        ("answer", False, ""),
        ("answer", "string", ""),
        ("answer", {"type": "integer"}, ""),
        ("answer", {"type": "null"}, ""),
        ("answer", {"minLength": 1}, ""),
        ("answer", {"pattern": "^a"}, ""),
        ("answer", {"enum": ["yes"]}, ""),
        ("answer", {"anyOf": [{"type": "null"}, {"type": "integer"}]}, ""),
        ("answer", {"anyOf": {}}, ""),
        ("answer", {"not": {"type": "integer"}}, ""),
        ("answer", {"$ref": "#/$defs/nothing"}, ""),
        ("answer", {"$ref": "https://example.com/schema"}, ""),
        ("answer", {"$ref": "#/properties/answer"}, ""),
        ("intent", {"enum": ["order"]}, ""),
        ("intent", {"const": "order"}, ""),
        ("count", {"type": "integer", "minimum": 1}, ""),
        ("count", {"type": "integer", "maximum": 9}, ""),
        ("count", {"enum": [True, 0]}, ""),
        ("tags", {"type": "array", "items": {"type": "integer"}}, ".items"),
        ("tags", {"type": "array", "maxItems": 2}, ""),
        ("tags", {"type": "string"}, ""),
        ("address", {"type": "object", "properties": {"street": {}}, "additionalProperties": False}, ".number"),
        ("address", {"type": "object", "properties": {}, "required": ["number"]}, ".number"),
        ("address", {"type": "object", "required": [["street"]]}, ""),
        ("address", {"type": "object", "properties": {"number": {"minimum": 2}}}, ".number"),
        ("anything", {"type": "object", "additionalProperties": False}, ""),
        ("anything", {"type": "object", "properties": {"a": {}}}, ".a"),
    ],
)
def test_what_the_output_does_not_keep(name: str, schema: Any, where: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_promise(of(name, schema), GIVEN)

    assert caught.value.code == "response_format_incompatible"
    assert caught.value.field.startswith("response_format.json_schema.schema")
    assert caught.value.field.endswith(where)


def test_one_that_contains_itself_comes_to_an_end() -> None:
    alternatives = {"anyOf": [{"$ref": "#/$defs/it"}, {"$ref": "#/$defs/it"}]}
    with pytest.raises(Invalid):
        check_promise(of("answer", {"$ref": "#/$defs/it"}, **{"$defs": {"it": alternatives}}), GIVEN)


def test_without_properties_all_fields_are_told() -> None:
    assert check_promise({"type": "object"}, GIVEN) == tuple(field.name for field in FIELDS)


def test_a_field_that_may_be_missing_is_null_there() -> None:
    given = {**GIVEN, "properties": {"note": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    assert check_promise(of("note", {"type": ["null", "string"]}), given) == ("note",)
    with pytest.raises(Invalid):
        check_promise(of("note", {"type": "string"}), given)


def test_schemas_as_pydantic_makes_them() -> None:
    class Intent(Enum):
        ORDER = "order"
        REFUND = "refund"

    class Address(BaseModel):
        street: str
        number: int | None = None

    class Wanted(BaseModel):
        answer: str = Field(description="What else?")
        intent: Intent
        count: float
        sure: bool
        tags: list[str]
        address: Address

    class Narrow(BaseModel):
        intent: Literal["order"]

    assert set(check_promise(Wanted.model_json_schema(), GIVEN)) == set(Wanted.model_fields)
    with pytest.raises(Invalid):
        check_promise(Narrow.model_json_schema(), GIVEN)
