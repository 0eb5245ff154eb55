"""What the loopback provider answers by itself: a well-formed answer to a prompt of DSPy's chat or JSON adapter."""

from __future__ import annotations

import ast
import functools
import json
import re
import zlib
from typing import Any

_CHAT_FIELD = re.compile(
    r"`\[\[ ## (\w+) ## \]\]`(?: \(must be formatted as a valid Python (.+?)\)(?=, then|, and then))?"
)
_JSON_FIELD = re.compile(r"`(\w+)`(?: \(must be formatted as a valid Python (.+?)\))?(?=, then|\.)")
_CHAT_ORDER, _JSON_ORDER = "Respond with the corresponding output fields", "Respond with a JSON object"
_SCHEMA_NOTE = "adhere to the JSON schema: "

_PLAIN_VALUES: dict[str, Any] = {
    "int": 1,
    "float": 0.5,
    "bool": True,
    "date": "2024-01-02",
    "datetime": "2024-01-02T03:04:05",
    "Any": None,
    "NoneType": None,
    "dict": {},
    "list": [],
}
_SCHEMA_VALUES: dict[str, Any] = {"integer": 1, "number": 0.5, "boolean": True, "null": None}


VECTOR_LENGTH = 32
_WORD = re.compile(r"\w+")


def vector_of(text: str, length: int = VECTOR_LENGTH) -> list[float]:
    """The words of a text, counted by a hash into `length` numbers: texts that share words are close to each other."""
    counts = [0.0] * length
    for word in _WORD.findall(text.casefold()):
        counts[zlib.crc32(word.encode()) % length] += 1.0
    return counts


def message_text(message: dict[str, Any]) -> str:
    """The text of one chat message, whether its content is a string or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def well_formed_answer(body: dict[str, Any]) -> str:
    """The answer a well-behaved model would give: every output field asked for, in the form asked for."""
    messages = body.get("messages") or [{}]
    return _answer(message_text(messages[0]), message_text(messages[-1]), json.dumps(body.get("response_format")))


@functools.lru_cache(maxsize=512)
def _answer(system: str, request: str, response_format: str) -> str:
    if (start := request.rfind(_CHAT_ORDER)) >= 0:
        values = _values(_CHAT_FIELD, request[start:], system)
        return "\n\n".join(
            f"[[ ## {name} ## ]]\n{_as_text(value)}" for name, value in values.items() if name != "completed"
        ) + ("\n\n[[ ## completed ## ]]")
    if (start := request.rfind(_JSON_ORDER)) >= 0:
        return json.dumps(_values(_JSON_FIELD, request[start:], system))
    schema = (json.loads(response_format) or {}).get("json_schema", {}).get("schema")
    return json.dumps(_from_schema(schema, schema)) if schema else "some text"


def _values(field: re.Pattern[str], order: str, system: str) -> dict[str, Any]:
    return {name: _value(name, kind, system) for name, kind in field.findall(order)}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _value(name: str, kind: str, system: str) -> Any:
    if kind in ("", "str"):
        return f"some {name}"
    if kind in _PLAIN_VALUES:
        return _PLAIN_VALUES[kind]
    if kind.startswith("Literal["):
        return ast.literal_eval(kind.removeprefix("Literal"))[0]
    schema = _described_schema(name, system)
    return _from_schema(schema, schema)


def _described_schema(name: str, system: str) -> dict[str, Any]:
    """The JSON schema that the system message states for an output field; {} when it states none."""
    note = next((line for line in system.splitlines() if f"{{{name}}} " in line and _SCHEMA_NOTE in line), "")
    if note.lstrip().startswith('"'):  # the JSON adapter shows the note inside a JSON string
        note = json.loads("{" + note.strip().rstrip(",") + "}")[name]
    if not note:
        return {}
    schema: dict[str, Any] = json.loads(note.split(_SCHEMA_NOTE, 1)[1])
    return schema


def _from_schema(schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """The smallest value that a JSON schema allows."""
    if "$ref" in schema:
        return _from_schema(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return _from_schema(schema["anyOf"][0], root)
    kind = schema.get("type")
    if kind == "object":
        return {name: _from_schema(part, root) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [_from_schema(schema.get("items", {}), root)] * max(1, schema.get("minItems", 1))
    if kind in _SCHEMA_VALUES:
        return schema.get("minimum", _SCHEMA_VALUES[kind])
    if schema.get("format") in ("date", "date-time"):
        return _PLAIN_VALUES["date" if schema["format"] == "date" else "datetime"]
    return "some text"
