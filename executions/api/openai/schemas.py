"""Whether all that one JSON Schema allows is allowed by another: whether an output can keep what a client asks for.

The question is answered from the schemas alone, before anything is executed. What this cannot prove is refused with its
path, since a client takes the schema it sent for a promise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from django.utils.translation import gettext as _

from mlops.errors import Invalid

MAX_DEPTH = 16
MAX_STEPS = 2_000
"""How much may be compared: alternatives of alternatives multiply."""

_ANNOTATIONS = frozenset(
    {"$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description", "examples"}
    | {"readOnly", "title", "writeOnly"}
)
_READ = frozenset(
    {"$ref", "additionalProperties", "allOf", "anyOf", "const", "enum", "items", "properties", "required", "type"}
)
_AT_LEAST = frozenset({"exclusiveMinimum", "minItems", "minLength", "minimum"})
_AT_MOST = frozenset({"exclusiveMaximum", "maxItems", "maxLength", "maximum"})
_THE_SAME = frozenset({"format", "multipleOf", "pattern"})


def check_promise(asked: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the fields that an output has which is told as `asked`; `given` is what all outputs are.

    Of an object with properties these are told and no others. Raises `Invalid` (`response_format_incompatible`) with
    the path to what the output does not keep.
    """
    promise = _Promise(asked)
    try:
        whole = promise.resolved(asked, "")
        names = _told_names(whole, given["properties"])
        told = {**given, "properties": {name: given["properties"][name] for name in names}, "required": list(names)}
        promise.check(whole, told, "", 0)
        if not names:
            raise _unkept(".properties", _("the program has no such output"))
    except _TooMuch:
        raise _unkept("", _("it is nested too deeply")) from None
    return names


def _told_names(asked: Mapping[str, Any], given: Iterable[str]) -> tuple[str, ...]:
    wanted = asked.get("properties")
    return tuple(name for name in given if not isinstance(wanted, Mapping) or not wanted or name in wanted)


class _Promise:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._steps = 0

    def resolved(self, asked: Any, path: str) -> Mapping[str, Any]:
        """`asked` with its reference followed."""
        for _step in range(MAX_DEPTH):
            if asked is True:
                return {}
            if asked is False:
                raise _unkept(path, _("the program gives this"))
            if not isinstance(asked, Mapping):
                raise _malformed(path)
            if "$ref" not in asked:
                return asked
            asked = self._referenced(asked["$ref"], path)
        raise _TooMuch

    def check(self, asked: Any, given: Mapping[str, Any], path: str, depth: int) -> None:
        """Raise `Invalid` unless whatever `given` allows is allowed by `asked`."""
        self._steps += 1
        if depth > MAX_DEPTH or self._steps > MAX_STEPS:
            raise _TooMuch
        asked = self.resolved(asked, path)
        if "anyOf" in given:
            for one in given["anyOf"]:
                self.check(asked, one, path, depth + 1)
            return
        for keyword in asked:
            if keyword not in _ANNOTATIONS | _READ | _AT_LEAST | _AT_MOST | _THE_SAME:
                raise _unkept(path, _("the keyword %(keyword)s is not known here") % {"keyword": str(keyword)[:50]})
        self._check_choices(asked, given, path)
        self._check_combined(asked, given, path, depth)
        self._check_type(asked, given, path)
        self._check_bounds(asked, given, path)
        self._check_object(asked, given, path, depth)
        if "items" in asked and given.get("type") == "array":
            self.check(asked["items"], given.get("items", {}), f"{path}.items", depth + 1)

    def _referenced(self, reference: Any, path: str) -> Any:
        found: Any = self._root
        steps = str(reference).removeprefix("#").strip("/")
        for step in steps.split("/") if steps else ():
            found = found.get(step) if isinstance(found, Mapping) else None
        if not str(reference).startswith("#") or found is None:
            raise _unkept(path, _("its reference leads nowhere"))
        return found

    def _check_choices(self, asked: Mapping[str, Any], given: Mapping[str, Any], path: str) -> None:
        for allowed in _choices(asked):
            ours = next(_choices(given), None)
            if ours is None or not all(is_among(one, allowed) for one in ours):
                raise _unkept(path, _("the program may give other values"))

    def _check_combined(self, asked: Mapping[str, Any], given: Mapping[str, Any], path: str, depth: int) -> None:
        for keyword in ("allOf", "anyOf"):
            if keyword in asked and not isinstance(asked[keyword], list):
                raise _malformed(path)
        for one in asked.get("allOf", ()):
            self.check(one, given, path, depth + 1)
        if "anyOf" in asked and not any(self._allows(one, given, path, depth + 1) for one in asked["anyOf"]):
            raise _unkept(path, _("none of its alternatives holds for all that the program may give"))

    def _allows(self, asked: Any, given: Mapping[str, Any], path: str, depth: int) -> bool:
        try:
            self.check(asked, given, path, depth)
        except Invalid:
            return False
        return True

    def _check_type(self, asked: Mapping[str, Any], given: Mapping[str, Any], path: str) -> None:
        if "type" not in asked:
            return
        allowed = asked["type"] if isinstance(asked["type"], list) else [asked["type"]]
        ours = given.get("type")
        if ours not in allowed and not (ours == "integer" and "number" in allowed):
            kind = ours or _("a value of any type")
            raise _unkept(path, _("the program gives %(kind)s") % {"kind": kind})

    def _check_bounds(self, asked: Mapping[str, Any], given: Mapping[str, Any], path: str) -> None:
        for keyword in (_AT_LEAST | _AT_MOST | _THE_SAME) & asked.keys():
            limit, ours = asked[keyword], given.get(keyword)
            is_kept = ours == limit
            if not is_kept and keyword not in _THE_SAME and _is_number(limit) and _is_number(ours):
                is_kept = ours >= limit if keyword in _AT_LEAST else ours <= limit
            if not is_kept:
                raise _unkept(path, _("the program does not promise %(keyword)s") % {"keyword": keyword})

    def _check_object(self, asked: Mapping[str, Any], given: Mapping[str, Any], path: str, depth: int) -> None:
        if given.get("type") != "object":
            return
        properties, required = asked.get("properties", {}), asked.get("required", [])
        if not isinstance(properties, Mapping) or not _are_names(required):
            raise _malformed(path)
        for name, schema in properties.items():
            if not isinstance(schema, Mapping | bool):
                raise _malformed(f"{path}.properties.{name}")
        ours, others = given.get("properties", {}), given.get("additionalProperties", True)
        for name in (*properties, *required):
            if name not in ours and (name in required or others is not False):
                raise _unkept(f"{path}.properties.{name}", _("the program has no such output"))
            if name in required and name not in given.get("required", ()):
                raise _unkept(f"{path}.properties.{name}", _("the program may leave it out"))
        rest = asked.get("additionalProperties", True)
        for name, schema in ours.items():
            self.check(properties.get(name, rest), schema, f"{path}.properties.{name}", depth + 1)
        if rest is not True and others is not False:
            raise _unkept(path, _("the program may give further properties"))


def _choices(schema: Mapping[str, Any]) -> Iterator[list[Any]]:
    if "const" in schema:
        yield [schema["const"]]
    if "enum" in schema:
        yield schema["enum"] if isinstance(schema["enum"], list) else []


def is_among(value: Any, allowed: Collection[Any]) -> bool:
    """In JSON's eyes, to which true is not 1."""
    return any(value == one and isinstance(value, bool) is isinstance(one, bool) for one in allowed)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unkept(path: str, reason: str) -> Invalid:
    return Invalid(
        "response_format_incompatible",
        _("The program's output cannot keep this schema: %(reason)s.") % {"reason": reason},
        field=f"response_format.json_schema.schema{path}"[:200],
    )


def _malformed(path: str) -> Invalid:
    return _unkept(path, _("a part of it is no schema"))


class _TooMuch(Exception):
    """There is no end to be seen of what is asked."""
