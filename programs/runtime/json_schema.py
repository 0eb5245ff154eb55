"""JSON Schema to Python types, for fields of type object.

Supported: type (also a list of types), properties, required, additionalProperties, items, enum, const, anyOf,
minLength, maxLength, pattern, minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf, minItems, maxItems and
`$ref` to `#/$defs/...` without recursion. Annotations (title, description, default, ...) are kept or ignored. All else
is refused with its path, since a rule that is silently dropped would look as if it held.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from functools import reduce
from keyword import iskeyword
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

MAX_DEPTH = 8
MAX_PROPERTIES = 200

_ANNOTATIONS = frozenset(
    {"$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description", "examples", "format"}
    | {"readOnly", "title", "writeOnly"}
)
_LENGTHS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
_BOUNDS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_ITEM_COUNTS = {"minItems": "min_length", "maxItems": "max_length"}
_SCALARS: dict[str, tuple[Any, Mapping[str, str]]] = {
    "string": (str, _LENGTHS),
    "integer": (int, _BOUNDS),
    "number": (float, _BOUNDS),
    "boolean": (bool, {}),
    "null": (type(None), {}),
}
_REFERENCE = re.compile(r"#/(?P<part>\$defs|definitions)/(?P<name>[^/]+)")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAKEN_NAMES = frozenset(dir(BaseModel))


class UnsupportedSchema(ValueError):
    """A part of a JSON Schema that this converter does not know. `path` leads to it."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def type_of_object(schema: Mapping[str, Any], name: str) -> Any:
    """The Python type of an object field. Raises `UnsupportedSchema`."""
    if schema.get("type") != "object":
        raise UnsupportedSchema("The schema of an object has the type 'object'.", "type")
    return _Converter(schema, name).convert(schema, "", 0)


class _Converter:
    def __init__(self, root: Mapping[str, Any], name: str) -> None:
        self._root = root
        self._name = name
        self._properties = 0
        self._open: list[str] = []

    def convert(self, schema: Any, path: str, depth: int) -> Any:
        if schema is True or schema == {}:
            return Any
        if not isinstance(schema, Mapping):
            raise UnsupportedSchema("A schema is an object.", path)
        if depth > MAX_DEPTH:
            raise UnsupportedSchema(f"Nested deeper than {MAX_DEPTH} levels.", path)
        for keyword in ("$ref", "enum", "const", "anyOf"):
            if keyword in schema:
                return self._special(keyword, schema, path, depth)
        kind = schema.get("type")
        if kind is None:
            _only(schema, {"type"}, path)
            return Any
        if isinstance(kind, list) and kind:
            return _union([self._one_of(one, schema, path, depth) for one in kind])
        return self._typed(kind, schema, path, depth)

    def _one_of(self, kind: Any, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        return None if kind == "null" else self.convert({**schema, "type": kind}, path, depth + 1)

    def _typed(self, kind: Any, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        if kind == "object":
            return self._object(schema, path, depth)
        if kind == "array":
            _only(schema, {"type", "items", *_ITEM_COUNTS}, path)
            items = self.convert(schema.get("items", True), _join(path, "items"), depth + 1)
            return _constrained(list[items], schema, _ITEM_COUNTS)  # type: ignore[valid-type]
        if not isinstance(kind, str) or kind not in _SCALARS:
            raise UnsupportedSchema(f"The type {kind!r} is not supported.", _join(path, "type"))
        python_type, keywords = _SCALARS[kind]
        _only(schema, {"type", *keywords}, path)
        return _constrained(python_type, schema, keywords)

    def _special(self, keyword: str, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        value, inner = schema[keyword], _join(path, keyword)
        if keyword == "$ref":
            _only(schema, {"$ref"}, path)
            return self._referenced(value, inner, depth)
        if keyword == "anyOf":
            _only(schema, {"anyOf"}, path)
            if not isinstance(value, list) or not value:
                raise UnsupportedSchema("anyOf is a list of schemas.", inner)
            return _union([self.convert(one, f"{inner}.{index}", depth + 1) for index, one in enumerate(value)])
        _only(schema, {"type", keyword}, path)
        return _literal(value if keyword == "enum" else [value], inner)

    def _referenced(self, reference: Any, path: str, depth: int) -> Any:
        found = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        definitions = self._root.get(found["part"]) if found else None
        if not found or not isinstance(definitions, Mapping) or found["name"] not in definitions:
            raise UnsupportedSchema("Only references to '#/$defs/...' of this schema are followed.", path)
        if reference in self._open:
            raise UnsupportedSchema("A schema may not contain itself.", path)
        self._open.append(reference)
        converted = self.convert(definitions[found["name"]], path, depth + 1)
        self._open.pop()
        return converted

    def _object(self, schema: Mapping[str, Any], path: str, depth: int) -> Any:
        _only(schema, {"type", "properties", "required", "additionalProperties"}, path)
        properties, required = schema.get("properties", {}), schema.get("required", [])
        more = schema.get("additionalProperties", True)
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise UnsupportedSchema("properties is an object and required a list.", path)
        if unknown := [str(name) for name in required if name not in properties]:
            message = f"required names unknown properties: {', '.join(unknown)}."
            raise UnsupportedSchema(message, _join(path, "required"))
        if not properties and more is not False:
            values = self.convert(more, _join(path, "additionalProperties"), depth + 1)
            return dict[str, values]  # type: ignore[valid-type]
        if not isinstance(more, bool):
            message = "additionalProperties beside properties is true or false."
            raise UnsupportedSchema(message, _join(path, "additionalProperties"))
        return self._model(properties, required, more, path, depth)

    def _model(self, properties: Mapping[str, Any], required: list[Any], more: bool, path: str, depth: int) -> Any:
        self._properties += len(properties)
        if self._properties > MAX_PROPERTIES:
            raise UnsupportedSchema(f"More than {MAX_PROPERTIES} properties.", path)
        fields: dict[str, Any] = {}
        for index, (name, schema) in enumerate(properties.items()):
            inner = self.convert(schema, _join(path, f"properties.{name}"), depth + 1)
            annotations = schema if isinstance(schema, Mapping) else {}
            details: dict[str, Any] = {"description": annotations.get("description")}
            if not _is_plain(name):
                details["alias"] = name
            default = ... if name in required else annotations.get("default")
            fields[name if _is_plain(name) else f"property_{index}"] = (inner, Field(default, **details))
        title = "_".join([self._name, *re.findall(r"properties\.(\w+)", path)])
        config = ConfigDict(extra="allow" if more else "forbid", protected_namespaces=())
        return create_model(title, __config__=config, **fields)


def _is_plain(name: str) -> bool:
    return bool(_PLAIN_NAME.fullmatch(name)) and not iskeyword(name) and name not in _TAKEN_NAMES


def _only(schema: Mapping[str, Any], known: set[str], path: str) -> None:
    for keyword in schema:
        if keyword not in known and keyword not in _ANNOTATIONS:
            raise UnsupportedSchema(f"The keyword {keyword!r} is not supported here.", _join(path, str(keyword)))


def _constrained(python_type: Any, schema: Mapping[str, Any], keywords: Mapping[str, str]) -> Any:
    constraints = {ours: schema[theirs] for theirs, ours in keywords.items() if theirs in schema}
    return Annotated[python_type, Field(**constraints)] if constraints else python_type


def _literal(values: Any, path: str) -> Any:
    if not isinstance(values, list) or not values or not all(isinstance(item, str | int | None) for item in values):
        raise UnsupportedSchema("Choices are strings, whole numbers, true, false or null.", path)
    return Literal[tuple(values)]


def _union(types: list[Any]) -> Any:
    return reduce(operator.or_, types)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
