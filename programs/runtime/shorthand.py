"""The shorthand for signatures: `question: str, context: list[str] -> answer: str`.

    signature = fields "->" fields
    fields    = field { "," field }
    field     = NAME [ ":" type ] [ "?" ] [ "=" value ]
    type      = TYPE | "list" "[" type "]" | ("enum" | "Literal") "[" choice { "," choice } "]"
    choice    = WORD | STRING
    value     = scalar | "[" [ scalar { "," scalar } ] "]"
    scalar    = STRING | NUMBER | "true" | "false" | WORD

A type that is left out is a string, `?` marks a field that may be missing. The text is only ever read, never evaluated:
DSPy's own parser imports modules and must not see what people type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from mlops.errors import Invalid, Problem
from programs.runtime.names import problem_of_name
from programs.types import FieldSpec, FieldType

MAX_LENGTH = 4_000
MAX_FIELDS = 60

_TYPES = {
    "str": FieldType.STRING,
    "string": FieldType.STRING,
    "int": FieldType.INTEGER,
    "integer": FieldType.INTEGER,
    "float": FieldType.NUMBER,
    "number": FieldType.NUMBER,
    "bool": FieldType.BOOLEAN,
    "boolean": FieldType.BOOLEAN,
    "date": FieldType.DATE,
    "object": FieldType.OBJECT,
    "dict": FieldType.OBJECT,
}
_CHOICE_TYPES = ("enum", "Literal")
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False}
_TOKEN = re.compile(
    r"""\s*(?:(?P<arrow>->)
    |(?P<number>-?\d+(?:\.\d+)?(?![\w.]))
    |(?P<word>\w[\w-]*(?<!-))
    |(?P<string>"(?:[^"\\\n]|\\["\\])*"|'(?:[^'\\\n]|\\['\\])*')
    |(?P<mark>[\[\],:?=]))""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def parse(text: str) -> tuple[FieldSpec, ...]:
    """The fields that `text` describes, inputs first. Raises `Invalid` (code `shorthand_invalid`) with positions."""
    if len(text) > MAX_LENGTH:
        _refuse(f"Longer than {MAX_LENGTH} characters.")
    return _Parser(text).signature()


def _refuse(message: str, position: int | None = None) -> NoReturn:
    where = "" if position is None else f" (at position {position})"
    raise Invalid("shorthand_invalid", message + where, field="shorthand")


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            start = position + len(text[position:]) - len(text[position:].lstrip())
            _refuse(f"Unexpected {text[start]!r}.", start)
        found.append(_Token(match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup)))
        position = match.end()
    return [*found, _Token("end", "", end)]


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._problems: list[Problem] = []
        self._names: set[str] = set()

    def signature(self) -> tuple[FieldSpec, ...]:
        inputs = self._fields(is_input=True)
        self._expect("->", "'->' between inputs and outputs")
        outputs = self._fields(is_input=False)
        if self._next.kind != "end":
            self._unexpected("the end")
        if len(self._names) > MAX_FIELDS:
            _refuse(f"More than {MAX_FIELDS} fields.")
        if self._problems:
            message = " ".join(problem.message for problem in self._problems)
            raise Invalid("shorthand_invalid", message, field="shorthand", problems=self._problems)
        return (*inputs, *outputs)

    def _fields(self, *, is_input: bool) -> list[FieldSpec]:
        fields = [self._field(is_input)]
        while self._accept(","):
            fields.append(self._field(is_input))
        return fields

    def _field(self, is_input: bool) -> FieldSpec:
        name = self._word("a field name")
        self._note_name(name)
        field = FieldSpec(name.text, is_input=is_input)
        if self._accept(":"):
            field = self._typed(field)
        if self._accept("?"):
            field = replace(field, required=False)
        if self._accept("="):
            field = replace(field, required=False, has_default=True, default=self._value())
        return field

    def _note_name(self, token: _Token) -> None:
        problem = problem_of_name(token.text)
        if token.text in self._names:
            problem = Problem("duplicate_field", f"The field {token.text!r} is there twice.")
        if problem:
            message = f"{problem.message} (at position {token.position})"
            self._problems.append(Problem(problem.code, message, token.text))
        self._names.add(token.text)

    def _typed(self, field: FieldSpec) -> FieldSpec:
        name = self._word("a type")
        if name.text == "list":
            if field.is_list:
                _refuse("A list of lists is not supported; use an object.", name.position)
            self._expect("[", "'[' after 'list'")
            field = self._typed(replace(field, is_list=True))
            self._expect("]", "']'")
            return field
        if name.text in _CHOICE_TYPES:
            return replace(field, type=FieldType.ENUM, choices=self._choices())
        if name.text not in _TYPES:
            known = ", ".join([*_TYPES, "list[...]", "enum[...]"])
            _refuse(f"Unknown type {name.text!r}; the types are {known}.", name.position)
        return replace(field, type=_TYPES[name.text])

    def _choices(self) -> tuple[str, ...]:
        self._expect("[", "'[' and the choices")
        choices = [self._choice()]
        while self._accept(","):
            choices.append(self._choice())
        self._expect("]", "']'")
        if len(set(choices)) < len(choices):
            _refuse("A choice is there twice.", self._next.position)
        return tuple(choices)

    def _choice(self) -> str:
        if self._next.kind not in ("word", "string", "number"):
            self._unexpected("a choice")
        return _text_of(self._take())

    def _value(self) -> Any:
        return self._values() if self._accept("[") else self._scalar()

    def _scalar(self) -> Any:
        token = self._next
        if token.kind not in ("word", "string", "number"):
            self._unexpected("a value")
        self._take()
        if token.kind == "number":
            return _number(token.text)
        return _CONSTANTS.get(token.text, _text_of(token)) if token.kind == "word" else _text_of(token)

    def _values(self) -> list[Any]:
        values: list[Any] = []
        if self._accept("]"):
            return values
        values.append(self._scalar())
        while self._accept(","):
            values.append(self._scalar())
        self._expect("]", "']'")
        return values

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _accept(self, text: str) -> bool:
        if self._next.kind in ("mark", "arrow") and self._next.text == text:
            self._at += 1
            return True
        return False

    def _expect(self, text: str, description: str) -> None:
        if not self._accept(text):
            self._unexpected(description)

    def _word(self, description: str) -> _Token:
        if self._next.kind != "word":
            self._unexpected(description)
        return self._take()

    def _unexpected(self, wanted: str) -> NoReturn:
        found = "the end" if self._next.kind == "end" else repr(self._next.text)
        _refuse(f"Expected {wanted}, found {found}.", self._next.position)


def _text_of(token: _Token) -> str:
    return _ESCAPE.sub(r"\1", token.text[1:-1]) if token.kind == "string" else token.text


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)
