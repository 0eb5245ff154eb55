"""Values against fields: what comes in is refused with every problem at once, what comes out is made plain JSON.

DSPy only logs a warning for wrong inputs and does not enforce constraints on outputs, so both are checked here. Checks
are built once per program and shared; validation is strict ("1" is not an integer, true neither).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import SchemaValidator, to_jsonable_python

from mlops.errors import Problem, all_of
from mlops.sanitiser import problem_in, replace_unstorable
from programs.runtime.field_types import checked_type
from programs.types import FieldSpec

_CODES = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "literal_error": "not_a_choice",
    "enum": "not_a_choice",
}
_WRONG_TYPES = ("_type", "_parsing")
_MESSAGES = {"missing": "This field is required.", "extra_forbidden": "There is no such field."}
MAX_PROBLEMS = 50


class InvalidOutput(ValueError):
    """What a module gave does not fit its output fields."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{problem.field}: {problem.message}" for problem in problems))
        self.problems = tuple(problems)


class _Check:
    """The strict form of some fields, compiled once."""

    def __init__(self, fields: Iterable[FieldSpec]) -> None:
        self.fields = tuple(fields)
        self._names = frozenset(field.name for field in self.fields)
        self._optional = frozenset(field.name for field in self.fields if not field.required or field.has_default)
        self._defaults = {field.name: field.default for field in self.fields if field.has_default}
        config = ConfigDict(extra="forbid", strict=True)
        members: dict[str, Any] = {
            field.name: (checked_type(field), None if field.name in self._optional else ...) for field in self.fields
        }
        self._model = create_model("Fields", __config__=config, **members)
        self._validator: SchemaValidator = self._model.__pydantic_validator__

    def json_schema(self) -> dict[str, Any]:
        """The fields as JSON Schema without references, for forms, tools and documentation."""
        schema: dict[str, Any] = self._model.model_json_schema()
        inlined: dict[str, Any] = _inlined(schema, schema.pop("$defs", {}))
        return inlined

    def _problems(self, values: Mapping[str, Any]) -> list[Problem]:
        try:
            self._validator.validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            return _translated(error)
        except (TypeError, ValueError, RecursionError):
            return [_not_json(name) for name, value in values.items() if not _is_json(value)]
        return []


class InputCheck(_Check):
    """What may be given to a program or module."""

    def problems(self, raw: Any) -> tuple[Problem, ...]:
        """Everything that is wrong with `raw`, paths included (`tags.2`); empty when it is fine."""
        if not isinstance(raw, Mapping):
            return (Problem("wrong_type", "The input is an object of fields."),)
        first = {name: problem for name, value in raw.items() if (problem := self._at_first_sight(name, value))}
        rest = self._given({name: value for name, value in raw.items() if name not in first})
        found = [problem for problem in self._problems(rest) if problem.field not in first]
        return tuple([*first.values(), *found][:MAX_PROBLEMS])

    def _at_first_sight(self, name: str, value: Any) -> Problem | None:
        if value is None and name in self._names and name not in self._optional:
            return Problem("null", "Null is not a value here.", name)
        found = problem_in(name, _shown(name)) or problem_in(value, name)
        return Problem(found.code, found.message, _shown(found.field)) if found else None

    def validate(self, raw: Any) -> dict[str, Any]:
        """`raw` with defaults filled in. Raises `Invalid` (code `invalid_input`) with every problem.

        Null for an optional field means that it was not given.
        """
        if problems := self.problems(raw):
            raise all_of(problems, code="invalid_input", message="The input does not fit the program's fields.")
        return self.completed(raw)

    def completed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of `values` that this check knows, with defaults for those that are not given."""
        given = {name: value for name, value in self._given(values).items() if name in self._names}
        for name, default in self._defaults.items():
            if name not in given and default is not None:
                given[name] = deepcopy(default)
        return given

    def _given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None or name not in self._optional}


class OutputCheck(_Check):
    """What a module may give."""

    def validate(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        """`given` as plain JSON, and whether anything unstorable in it was replaced. Raises `InvalidOutput`."""
        plain = {name: as_plain(value) for name, value in given.items() if name in self._names}
        values, replaced = replace_unstorable(plain)
        present = {name: value for name, value in values.items() if value is not None}
        if problems := self._problems(present):
            raise InvalidOutput(problems)
        return {name: values.get(name) for name in (field.name for field in self.fields)}, replaced


def validate_input(fields: Iterable[FieldSpec], raw: Any) -> dict[str, Any]:
    """`InputCheck(fields).validate(raw)` for callers that check once."""
    return InputCheck(fields).validate(raw)


def as_plain(value: Any) -> Any:
    """A value of DSPy as plain JSON: models become objects, dates ISO strings, what is unknown becomes text."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return to_jsonable_python(value, fallback=str)


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """`schema` with references replaced by what they mean. Ends, since a schema that contains itself is refused."""
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if (reference := schema.get("$ref")) and isinstance(reference, str):
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        return _inlined({**definitions[reference.rpartition("/")[2]], **rest}, definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}


def _translated(error: ValidationError) -> list[Problem]:
    return [
        Problem(_code(item["type"]), _MESSAGES.get(item["type"], item["msg"] + "."), _path(item["loc"]))
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _code(kind: str) -> str:
    return _CODES.get(kind) or ("wrong_type" if kind.endswith(_WRONG_TYPES) else "constraint")


def _path(location: tuple[int | str, ...]) -> str:
    return _shown(".".join(str(part) for part in location))


def _shown(name: str) -> str:
    """A name from outside, made safe to repeat."""
    return name[:200] if problem_in(name) is None else ascii(name)[1:-1][:200]


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _not_json(name: str) -> Problem:
    return Problem("wrong_type", "Not a JSON value.", _shown(name))
