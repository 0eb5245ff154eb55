"""Python types of fields, and what may be wrong with a field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from mlops.errors import Problem
from mlops.sanitiser import problem_in
from programs.runtime.json_schema import UnsupportedSchema, type_of_object
from programs.runtime.names import problem_of_name
from programs.types import FieldSpec, FieldType

_SCALARS: dict[FieldType, Any] = {
    FieldType.STRING: str,
    FieldType.INTEGER: int,
    FieldType.NUMBER: float,
    FieldType.BOOLEAN: bool,
    FieldType.DATE: date,
}
_LENGTHS = frozenset({"min_length", "max_length"})
_BOUNDS = frozenset({"ge", "le", "gt", "lt", "multiple_of"})
_CONSTRAINTS_OF_ONE = {
    FieldType.STRING: _LENGTHS | {"pattern"},
    FieldType.INTEGER: _BOUNDS,
    FieldType.NUMBER: _BOUNDS,
}

MAX_CHOICES = 1_000
MAX_SCHEMA_CHARACTERS = 20_000


def value_type(field: FieldSpec) -> Any:
    """The Python type of a field without its constraints: what DSPy prompts for and parses."""
    one = _type_of_one(field)
    return _list_of(one) if field.is_list else one


def checked_type(field: FieldSpec) -> Any:
    """The Python type of a field with its constraints. Of a list, lengths count items; the rest holds for each."""
    of_list = {name: value for name, value in field.constraints.items() if field.is_list and name in _LENGTHS}
    of_one = {name: value for name, value in field.constraints.items() if name not in of_list}
    one = _constrained(_type_of_one(field), of_one)
    return _constrained(_list_of(one), of_list) if field.is_list else one


def _type_of_one(field: FieldSpec) -> Any:
    if field.type is FieldType.ENUM:
        return Literal[field.choices]
    if field.type is FieldType.OBJECT:
        return _object_type(json.dumps(field.schema), field.name) if field.schema else dict[str, Any]
    return _SCALARS[field.type]


@lru_cache(maxsize=512)
def _object_type(schema: str, name: str) -> Any:
    """Cached: signature and checks of a field share one model, so that a value need not be turned between them."""
    return type_of_object(json.loads(schema), "".join(part.title() for part in name.split("_")))


def _list_of(one: Any) -> Any:
    return list[one]


def _constrained(python_type: Any, constraints: Mapping[str, Any]) -> Any:
    return Annotated[python_type, Field(**constraints)] if constraints else python_type


def problems_of_field(field: FieldSpec) -> tuple[Problem, ...]:
    """Everything that is wrong with a field; each problem's field begins with the name of the field."""
    problem = problem_of_name(field.name)
    problems = [problem] if problem else []
    problems += [*_problems_of_choices(field), *_problems_of_schema(field), *_problems_of_constraints(field)]
    return tuple(problems or _problems_of_default(field))


def _problems_of_choices(field: FieldSpec) -> list[Problem]:
    path = f"{field.name}.choices"
    if field.type is not FieldType.ENUM:
        return [Problem("unexpected_choices", "Only an enum has choices.", path)] if field.choices else []
    if not field.choices:
        return [Problem("missing_choices", "An enum needs choices.", path)]
    if not all(isinstance(choice, str) and choice.strip() for choice in field.choices):
        return [Problem("bad_choices", "Choices are texts that are not empty.", path)]
    if len(set(field.choices)) < len(field.choices):
        return [Problem("duplicate_choice", "A choice is there twice.", path)]
    if len(field.choices) > MAX_CHOICES:
        return [Problem("too_many_choices", f"More than {MAX_CHOICES} choices.", path)]
    found = problem_in(list(field.choices), path)
    return [found] if found else []


def _problems_of_schema(field: FieldSpec) -> list[Problem]:
    if field.schema is None:
        return []
    path = f"{field.name}.schema"
    if field.type is not FieldType.OBJECT:
        return [Problem("unexpected_schema", "Only an object has a schema.", path)]
    problem = _problem_of_object(field, path)
    return [problem] if problem else []


def _problem_of_object(field: FieldSpec, path: str) -> Problem | None:
    if found := problem_in(dict(field.schema or {}), path):
        return found
    if len(json.dumps(field.schema)) > MAX_SCHEMA_CHARACTERS:
        return Problem("schema_too_large", f"Longer than {MAX_SCHEMA_CHARACTERS} characters.", path)
    try:
        TypeAdapter(_type_of_one(field))
    except UnsupportedSchema as error:
        return Problem("unsupported_schema", error.message, f"{path}.{error.path}".rstrip("."))
    except (SchemaError, PydanticUserError, TypeError, ValueError) as error:
        return Problem("bad_schema", f"The schema cannot be used: {_on_one_line(error)}", path)
    return None


def _problems_of_constraints(field: FieldSpec) -> list[Problem]:
    allowed = _CONSTRAINTS_OF_ONE.get(field.type, frozenset()) | (_LENGTHS if field.is_list else frozenset())
    problems = [
        Problem("unknown_constraint", f"A {field.type_label} has no {name!r}.", f"{field.name}.constraints.{name}")
        for name in field.constraints
        if name not in allowed
    ]
    problems += [
        Problem("bad_constraint", message, f"{field.name}.constraints.{name}")
        for name, value in field.constraints.items()
        if name in allowed and (message := _wrong_constraint(name, value))
    ]
    return problems or _unusable_constraints(field)


def _wrong_constraint(name: str, value: Any) -> str:
    if name == "pattern":
        return "" if isinstance(value, str) else "A pattern is a regular expression."
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "A number is expected."
    if name in _LENGTHS and (not isinstance(value, int) or value < 0):
        return "A whole number from 0 is expected."
    return "A number above 0 is expected." if name == "multiple_of" and value <= 0 else ""


def _unusable_constraints(field: FieldSpec) -> list[Problem]:
    if not field.constraints:
        return []
    try:
        TypeAdapter(_constrained(str, {"pattern": field.constraints.get("pattern")}))
    except (SchemaError, PydanticUserError) as error:
        path = f"{field.name}.constraints.pattern"
        return [Problem("bad_constraint", f"Not a usable regular expression: {_on_one_line(error)}", path)]
    return []


def _problems_of_default(field: FieldSpec) -> list[Problem]:
    if not field.has_default:
        return []
    path = f"{field.name}.default"
    if found := problem_in(field.default, path):
        return [found]
    if field.default is None and not field.required:
        return []
    try:
        TypeAdapter(checked_type(field)).validate_json(json.dumps(field.default), strict=True)
    except ValidationError as error:
        return [Problem("bad_default", error.errors()[0]["msg"] + ".", path)]
    except (TypeError, ValueError, SchemaError):
        return [Problem("bad_default", "The default is not a JSON value.", path)]
    return []


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
