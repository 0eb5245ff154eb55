"""Programs as values: what rows say, frozen, without Django and without DSPy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class ProgramStatus(StrEnum):
    DRAFT = "draft"
    TESTING = "testing"
    PRODUCTION = "production"
    ARCHIVED = "archived"


class FieldType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    ENUM = "enum"
    OBJECT = "object"


class ModuleKind(StrEnum):
    PREDICT = "predict"
    CHAIN_OF_THOUGHT = "chain_of_thought"
    RETRIEVE = "retrieve"
    REACT = "react"
    CUSTOM = "custom"


class AdapterName(StrEnum):
    CHAT = "chat"
    JSON = "json"


class Capture(StrEnum):
    """Which executions keep input, output and trace: for personal data."""

    ALL = "all"
    ERRORS = "errors"
    NONE = "none"


PREDICTING_KINDS = frozenset({ModuleKind.PREDICT, ModuleKind.CHAIN_OF_THOUGHT, ModuleKind.REACT})
"""Kinds that ask a language model and therefore have a signature and prompt versions."""

EXAMPLE_MARK = "_example"
"""The key under which a demo names the example it came from. Field names begin with a letter, so it is nobody's."""

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
FIELD_NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One typed field of a signature. `constraints`: ge, le, gt, lt, multiple_of, min_length, max_length, pattern."""

    name: str
    type: FieldType = FieldType.STRING
    is_list: bool = False
    is_input: bool = True
    description: str = ""
    required: bool = True
    has_default: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    constraints: Mapping[str, Any] = field(default_factory=dict)

    @property
    def type_label(self) -> str:
        """The type as people write it: `string`, `list[integer]`, `enum[a, b]`."""
        inner = f"enum[{', '.join(self.choices)}]" if self.type is FieldType.ENUM else self.type.value
        return f"list[{inner}]" if self.is_list else inner


@dataclass(frozen=True, slots=True)
class SignatureSpec:
    name: str
    instructions: str
    fields: tuple[FieldSpec, ...]

    @property
    def inputs(self) -> tuple[FieldSpec, ...]:
        return tuple(item for item in self.fields if item.is_input)

    @property
    def outputs(self) -> tuple[FieldSpec, ...]:
        return tuple(item for item in self.fields if not item.is_input)


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """Instructions and demos of one module, as a prompt version holds them."""

    instructions: str = ""
    demos: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class ModuleSpec:
    """One step of a program. `config` by kind:

    predict, chain_of_thought: `parameters` (temperature, max_tokens, ... over those of the language model).
    react: `tools` (names of registered tools, or `{"program": "name@3"}`), `max_iterations`.
    retrieve: `corpus` (id of a corpus), `k`, `search` (bm25, vector, hybrid), `input` and `output` field names (default
    `query` and `passages`).
    custom: `module` (name registered in settings), `arguments`.
    """

    key: str
    kind: ModuleKind
    signature: SignatureSpec | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    language_model: str | None = None
    prompt: PromptSpec | None = None


@dataclass(frozen=True, slots=True)
class ConnectionSpec:
    """`from_module.from_field` feeds `to_module.to_field`; an empty module is the program's own boundary."""

    from_module: str
    from_field: str
    to_module: str
    to_field: str


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program version with its prompt set: all that is needed to build it. Modules stand in the order of position.

    `outputs` names the program's outputs (`field` or `module.field`); empty means those of the last module.
    """

    id: str
    name: str
    version: int
    modules: tuple[ModuleSpec, ...]
    connections: tuple[ConnectionSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    adapter: AdapterName = AdapterName.CHAT

    def digest(self) -> str:
        """SHA-256 of the content, the key of every cache of built programs."""
        content = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool registered in settings. `repeatable` says that a second attempt may call it again."""

    name: str
    description: str
    repeatable: bool = True
