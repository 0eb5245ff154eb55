"""JSON Schemas of examples: whether one is usable, what it says of cells, and what of an example breaks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_MESSAGE = 300
PROBLEMS_PER_EXAMPLE = 10
_SCALARS: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def problem_in_schema(schema: Mapping[str, Any]) -> str:
    """Why `schema` cannot be used, or nothing. References are followed inside of it only, never to other hosts."""
    try:
        Draft202012Validator.check_schema(dict(schema))
        next(validator_of(schema).iter_errors({}), None)
    except SchemaError as error:
        return f"Not a JSON Schema: {error.message[:MAX_MESSAGE]}"
    except Unresolvable as error:
        return f"A reference leads nowhere: {str(error)[:MAX_MESSAGE]}"
    except RecursionError:
        return "The schema is nested too deeply."
    return ""


def validator_of(schema: Mapping[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(dict(schema), registry=Registry())


def problems_in_example(validator: Draft202012Validator, data: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Field, code and message of what breaks the schema. The code is `schema_` and the keyword, as `schema_enum`."""
    try:
        for count, error in enumerate(validator.iter_errors(data)):
            if count == PROBLEMS_PER_EXAMPLE:
                return
            yield ".".join(map(str, error.absolute_path)), f"schema_{error.validator}", _message(error)
    except (Unresolvable, RecursionError):
        yield "", "schema_invalid", "The schema cannot be applied to this example."


def _message(error: ValidationError) -> str:
    """In words that hold of the value no more than a beginning."""
    return error.message if len(error.message) <= MAX_MESSAGE else f"{error.message[:MAX_MESSAGE]}..."


def types_in(schema: Mapping[str, Any]) -> dict[str, str]:
    """Field -> type, where the schema says it: by `type`, or by what `enum` or `const` list."""
    properties = schema.get("properties")
    found = {name: _type_in(inner) for name, inner in properties.items()} if isinstance(properties, dict) else {}
    return {name: kind for name, kind in found.items() if kind}


def _type_in(inner: Any) -> str:
    if not isinstance(inner, dict):
        return ""
    declared = inner.get("type", [])
    names = [name for name in ([declared] if isinstance(declared, str) else declared) if name != "null"]
    if not names:
        values = inner.get("enum", [inner["const"]] if "const" in inner else [])
        names = list({_SCALARS.get(type(value), "json") for value in values if value is not None})
    return names[0] if len(names) == 1 else ("json" if names and "string" not in names else "")
