"""What an output field asks for, read from the type and the note that DSPy's adapters write about it."""

from __future__ import annotations

import ast
import enum
import json
import re
from dataclasses import dataclass
from typing import Any

REASONING_NAMES = frozenset({"reasoning", "rationale", "thought", "explanation", "discussion"})
BOOLEANS = ("False", "True")  # in this order: what nothing speaks for is False


class Kind(enum.Enum):
    """How a field is answered."""

    REASONING = "an account of how the other answers were found"
    CHOICE = "one of the allowed values"
    CHOICES = "some of the allowed values, or of those that the demos use"
    NUMBER = "a number"
    DATE = "a date"
    TEXT = "text"
    OBJECT = "an object"
    LIST_OF_OTHERS = "a list of something other than short strings"
    CODE = "code"
    TOOL_CALLS = "tool calls"
    OTHER = "a type that it does not know"


_Found = tuple[Kind, tuple[str, ...], str]  # kind, options, type in the words of JSON schema
_KINDS_BY_TYPE: tuple[tuple[re.Pattern[str], _Found], ...] = (
    (re.compile(r"(list\[)?ToolCall|Tool\b"), (Kind.TOOL_CALLS, (), "")),
    (re.compile(r"Code\b|Code_"), (Kind.CODE, (), "")),
    (re.compile(r"bool$"), (Kind.CHOICE, BOOLEANS, "boolean")),
    (re.compile(r"int$"), (Kind.NUMBER, (), "integer")),
    (re.compile(r"float$"), (Kind.NUMBER, (), "number")),
)


@dataclass(frozen=True, slots=True)
class OutputField:
    """One output field of the signature in the prompt."""

    name: str
    type_name: str
    description: str
    kind: Kind
    options: tuple[str, ...] = ()
    is_integer: bool = False
    is_boolean: bool = False


def read_field(name: str, type_name: str, description: str, note: str) -> OutputField:
    """The field named `name`; `note` is the text after "the value you produce must", "" for plain strings."""
    kind, options, schema_type = _kind(name, type_name, note)
    return OutputField(
        name,
        type_name,
        description,
        kind,
        options,
        is_integer=schema_type == "integer",
        is_boolean=schema_type == "boolean" and bool(options),
    )


def _kind(name: str, type_name: str, note: str) -> _Found:
    for pattern, found in _KINDS_BY_TYPE:
        if pattern.match(type_name):
            return found
    if "one of: " in note:
        listed = tuple(note.split("one of: ", 1)[1].split("; "))
        return Kind.CHOICE, (_literal_options(type_name) if "; " in type_name else ()) or listed, ""
    if "JSON schema: " in note:
        return _kind_of_schema(_loads(note.split("JSON schema: ", 1)[1]))
    if name in REASONING_NAMES:
        return Kind.REASONING, (), ""
    return (Kind.TEXT if type_name == "str" else Kind.OTHER), (), ""


def _literal_options(type_name: str) -> tuple[str, ...]:
    """The values of a Literal whose note cannot be split, since a value holds the separator."""
    if not type_name.startswith("Literal["):
        return ()
    try:
        return tuple(str(value) for value in ast.literal_eval(type_name.removeprefix("Literal")))
    except (ValueError, SyntaxError):
        return ()


def _kind_of_schema(schema: dict[str, Any]) -> _Found:
    schema = _without_null(_resolved(schema, schema), schema)
    kind = str(schema.get("type", ""))
    if "enum" in schema or "const" in schema:
        return Kind.CHOICE, tuple(str(value) for value in schema.get("enum", [schema.get("const")])), kind
    if kind == "array":
        items = schema.get("items")
        inner, options, _ = _kind_of_schema({**items, "$defs": schema.get("$defs", {})}) if items else (None, (), "")
        usable = inner is Kind.TEXT or (inner is Kind.CHOICE and options != BOOLEANS)
        return (Kind.CHOICES if usable else Kind.LIST_OF_OTHERS), options, ""
    if kind == "string" and "format" in schema:
        return (Kind.DATE if schema["format"] == "date" else Kind.OTHER), (), ""
    plain = {
        "string": (Kind.TEXT, ()),
        "boolean": (Kind.CHOICE, BOOLEANS),
        "integer": (Kind.NUMBER, ()),
        "number": (Kind.NUMBER, ()),
        "object": (Kind.OBJECT, ()),
    }
    return (*plain.get(kind, (Kind.OTHER, ())), kind)


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found = root.get("$defs", {}).get(str(schema["$ref"]).rsplit("/", 1)[-1], {})
    return {**found, "$defs": root.get("$defs", {})}


def _without_null(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """An optional value is read as the value itself: the matcher never answers null."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch.get("type") != "null"]
    return _resolved({**branches[0], "$defs": root.get("$defs", {})}, root) if len(branches) == 1 else schema


def _loads(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
