"""Between a conversation and the fields of a program: its input from messages, its output as an answer.

An instance of DSPy that has the program for its language model sends its fields as text, and asks for fields. That is
undone here: they become fields again, and the answer has the form that was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.utils.translation import gettext as _

from executions.api.openai.requests import ChatRequest, Format
from executions.api.openai.schemas import check_promise
from executions.services.interfaces import Interface
from mlops.encoding import encoded
from mlops.errors import Conflict, Invalid
from mlops.strict_json import parse_json
from programs.types import FieldSpec, FieldType

_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\][ \t]*$", re.MULTILINE)
_ORDER_BEGINS = "\n\nRespond with "
_ORDER = re.compile(
    r"\n\nRespond with (?:the corresponding output fields, starting with the field (?P<marked>`\[\[ ## .+)"
    r"|a JSON object in the following order of fields: (?P<json>`.+))\Z",
    re.DOTALL,
)
_MARKED_NAME = re.compile(r"`\[\[ ## (\w+) ## \]\]`")
_COMPLETED = "completed"


class Shape(Enum):
    """How the output is written down as one text."""

    TEXT = "text"
    JSON = "json"
    MARKED = "marked"
    """As DSPy's chat adapter has a model answer: each field below its header."""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How an output becomes the content of a message. `names` are its fields that are told; `streamed` is the module
    and field whose text can be told while it comes, if there is one, after `opening`."""

    shape: Shape
    names: tuple[str, ...]
    streamed: tuple[str, str] | None = None
    opening: str = ""

    def content_of(self, output: Mapping[str, Any]) -> str:
        told = {name: output.get(name) for name in self.names}
        if self.shape is Shape.MARKED:
            blocks = [_header(name) + _as_text(value) for name, value in told.items()]
            return "\n\n".join([*blocks, _header(_COMPLETED)]).rstrip()
        if self.shape is Shape.TEXT:
            return _as_text(told[self.names[0]])
        return encoded(told).decode()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a chat request asks of a program. `spoken` are the inputs that came by a message."""

    input: Mapping[str, Any]
    form: AnswerForm
    spoken: frozenset[str]

    def told_as_sent(self, field: str) -> str:
        """Where in the request an input field stands whose path is `field`."""
        return "messages" if field.partition(".")[0] in self.spoken else f"input.{field}".rstrip(".")


def meaning_of(asked: ChatRequest, program: Interface) -> Meaning:
    """Raises `Invalid` (`text_input_ambiguous`, `required`, `response_format_incompatible`) and `Conflict`
    (`output_not_kept`)."""
    if not program.keeps_output:
        raise Conflict(
            "output_not_kept", _("This program keeps no outputs, so there is none to answer with."), field="model"
        )
    text = asked.text or ""
    order = _ORDER.match(text, max(text.rfind(_ORDER_BEGINS), 0))  # the last one: a field may quote another
    fields = _fields_in(text[: order.start()], program) if order else {}
    form = _form(asked, program, order if fields else None)
    if not fields:
        fields = _filled(asked, program)
    return Meaning({**fields, **asked.input}, form, frozenset(fields.keys() - asked.input.keys()))


def _fields_in(text: str, program: Interface) -> dict[str, Any]:
    """The inputs that stand in `text` below their headers, as DSPy writes them; none unless it begins with one."""
    kinds = {field.name: field for field in program.inputs}
    headers = [header for header in _HEADER.finditer(text) if header[1] in kinds]
    if not headers or headers[0].start() != 0:
        return {}
    ends = [header.start() for header in headers[1:]] + [len(text)]
    return {
        header[1]: _value(kinds[header[1]], text[header.end() : end].strip())
        for header, end in zip(headers, ends, strict=True)
    }


def _value(field: FieldSpec, text: str) -> Any:
    """What DSPy wrote of a value that is no text is JSON; the program's own check refuses what is none."""
    if not field.is_list and field.type in (FieldType.STRING, FieldType.ENUM, FieldType.DATE):
        return text
    try:
        return parse_json(text.encode())
    except Invalid:
        return text


def _filled(asked: ChatRequest, program: Interface) -> dict[str, Any]:
    """The one text input that `input` leaves open, filled with the last user message; a required one, if there are."""
    texts = program.text_inputs()
    needed = [field for field in texts if field.required and not field.has_default]
    candidates = [field for field in needed or texts if field.name not in asked.input]
    if len(candidates) > 1:
        names = ", ".join(field.name for field in candidates)
        raise Invalid(
            "text_input_ambiguous",
            _("The program has several text inputs (%(names)s): give all but one of them here.") % {"names": names},
            field="input",
        )
    if not candidates or (asked.text is None and not needed):
        return {}
    if asked.text is None:
        raise Invalid("required", _("There is no message of the user."), field="messages")
    return {candidates[0].name: asked.text}


def _form(asked: ChatRequest, program: Interface, order: re.Match[str] | None) -> AnswerForm:
    names = tuple(field.name for field in program.outputs)
    if asked.schema is not None:
        return AnswerForm(Shape.JSON, check_promise(asked.schema, program.output_schema))
    if asked.format is Format.JSON_OBJECT or (order and order["json"]):
        return AnswerForm(Shape.JSON, names)
    if order:
        wanted = _ordered(order["marked"], names)
        return AnswerForm(Shape.MARKED, wanted, program.source_of_text(wanted[0]), _header(wanted[0]))
    if len(names) > 1:
        return AnswerForm(Shape.JSON, names)
    return AnswerForm(Shape.TEXT, names, program.source_of_text(names[0]))


def _ordered(order: str, names: Collection[str]) -> tuple[str, ...]:
    """The fields that DSPy's chat adapter asks for, at least one of them."""
    asked = tuple(name for name in _MARKED_NAME.findall(order) if name != _COMPLETED)
    unknown = [name for name in asked if name not in names]
    if unknown or not asked:
        message = _("The program gives %(names)s, and not %(unknown)s.")
        told = {"names": ", ".join(names), "unknown": ", ".join(unknown)}
        raise Invalid("response_format_incompatible", message % told, field="messages")
    return asked


def _header(name: str) -> str:
    return f"[[ ## {name} ## ]]\n"


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else encoded(value).decode()
