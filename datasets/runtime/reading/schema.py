"""JSON Schemas of examples: whether one is usable, what it says of cells, and what of an example breaks it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import regex
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry

MATCH_S = 0.1
"""How long a pattern may look at one text: some patterns would take centuries."""

MAX_MESSAGE = 300
PROBLEMS_PER_EXAMPLE = 10
_SCALARS: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}


def problem_in_schema(schema: Mapping[str, Any]) -> str:
    """Why `schema` cannot be used, or nothing. References are followed inside of it only, never to other hosts."""
    try:
        Draft202012Validator.check_schema(dict(schema))
        _refuse_patterns_of_names(schema)
        deque(validator_of(schema).iter_errors({}), maxlen=0)  # follows what can be followed
    except SchemaError as error:
        return f"Not a JSON Schema: {error.message[:MAX_MESSAGE]}"
    except RecursionError:
        return "The schema is nested too deeply."
    except Exception as error:
        # Where a reference may lead, and what it may meet there, is more than its library foresees.
        return f"The schema cannot be applied: {type(error).__name__}: {str(error)[:MAX_MESSAGE]}"
    return ""


def validator_of(schema: Mapping[str, Any]) -> Draft202012Validator:
    return _Validator(dict(schema), registry=Registry())


def _refuse_patterns_of_names(value: Any) -> None:
    """The library matches names of fields without a limit of time."""
    if isinstance(value, Mapping):
        if isinstance(value.get("patternProperties"), Mapping):
            raise SchemaError("patternProperties is not supported.")
        for name, inner in value.items():
            _refuse_patterns_of_names(list(inner.values()) if name == "properties" and inner else inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_patterns_of_names(inner)


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The keyword `pattern` under a limit of time, with the interpreter free for others meanwhile."""
    if not validator.is_type(instance, "string"):
        return
    try:
        found = regex.search(pattern, instance, timeout=MATCH_S, concurrent=True)
    except TimeoutError:
        yield ValidationError(f"The pattern {pattern!r} takes too long on this text.")
        return
    if not found:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator = validators.extend(Draft202012Validator, {"pattern": _pattern})


def problems_in_example(validator: Draft202012Validator, data: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Field, code and message of what breaks the schema. The code is `schema_` and the keyword, as `schema_enum`."""
    try:
        for count, error in enumerate(validator.iter_errors(data)):
            if count == PROBLEMS_PER_EXAMPLE:
                return
            yield ".".join(map(str, error.absolute_path)), f"schema_{error.validator}", _message(error)
    except Exception:  # as above: what a schema does to a value is more than its library foresees
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
