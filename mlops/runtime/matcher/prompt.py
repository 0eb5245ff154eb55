"""Reads the prompts that DSPy's ChatAdapter and JSONAdapter write: signature, demos and the inputs to answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import NamedTuple

from dspy.lm15 import Message, Request, TextPart

from mlops.runtime.matcher.errors import CannotMatch
from mlops.runtime.matcher.fields import OutputField, read_field

MAX_DEMOS = 1024  # the latest ones; more are not looked at
MAX_INPUT_CHARACTERS = 1_000_000

_STRUCTURE = "All interactions will be structured in the following way"
_OBJECTIVE = "In adhering to this structure, your objective is:"
_JSON_OUTPUTS = "Outputs will be a JSON object with the following fields."
_NOT_SUPPLIED = "Not supplied for this "
_FIELD_LINE = re.compile(r"^\d+\. `(\w+)` \((.*?)\): ?((?:(?!^\d+\. `).)*)", re.M | re.S)
_HEADER = re.compile(r"^\[\[ ## (\w+) ## \]\]", re.M)
_NOTE = re.compile(r"^\{(\w+)\}\s+# note: the value you produce must (.*)$", re.M)
_REMINDER = re.compile(r"\nRespond with (?:the corresponding output fields|a JSON object in the following order)")


@dataclass(frozen=True, slots=True)
class Task:
    """The signature in the system message."""

    instructions: str
    inputs: dict[str, str]
    outputs: dict[str, OutputField]
    as_json: bool


class Turn(NamedTuple):
    """A demo as it stands in the prompt, not yet read."""

    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that has been read: only the fields it supplies."""

    inputs: dict[str, str]
    outputs: dict[str, str]


@dataclass(frozen=True)
class Prompt:
    """A whole request as text."""

    system: str
    turns: tuple[Turn, ...]
    question: str

    @cached_property
    def lesson_text(self) -> str:
        """What is learned from, everything but the inputs to answer, as one text."""
        return "\n\x00".join([self.system, *chain.from_iterable(self.turns)])


def read_prompt(request: Request) -> Prompt:
    """The texts of a request. Raises CannotMatch for tools, media and prompts without DSPy's fields."""
    if request.tools:
        raise CannotMatch("it calls no tools.")
    system = request.system if isinstance(request.system, str) else _joined(request.system or (TextPart(""),))
    texts = [(message.role, _text_of(message)) for message in request.messages]
    if _STRUCTURE not in system or _OBJECTIVE not in system or texts[-1][0] != "user":
        raise CannotMatch("the prompt has no DSPy fields as the chat and JSON adapters write them.")
    turns = tuple(
        Turn(user, assistant)
        for (role, user), (reply, assistant) in pairwise(texts)
        if (role, reply) == ("user", "assistant")
    )
    return Prompt(system, turns[-MAX_DEMOS:], texts[-1][1])


def read_task(system: str) -> Task:
    """The signature that a system message describes."""
    head, _, objective = system.partition(_OBJECTIVE)
    listing, _, structure = head.partition(_STRUCTURE)
    inputs, _, outputs = listing.partition("Your output fields are:")
    as_json = _JSON_OUTPUTS in structure
    notes = _json_notes(structure) if as_json else dict(_NOTE.findall(structure))
    return Task(
        instructions="\n".join(line.strip() for line in objective.splitlines()).strip(),
        inputs={name: description.strip() for name, _, description in _FIELD_LINE.findall(inputs)},
        outputs={
            name: read_field(name, type_name, description.strip(), notes.get(name, ""))
            for name, type_name, description in _FIELD_LINE.findall(outputs)
        },
        as_json=as_json,
    )


def read_inputs(text: str, names: Iterable[str], *, is_question: bool = False) -> dict[str, str]:
    """The input fields in a user message. Headers that belong to no field of the signature are text like any other."""
    if is_question and (reminders := list(_REMINDER.finditer(text, max(0, len(text) - 20_000)))):
        text = text[: reminders[-1].start()]
    return _sections(text, names)


def read_demo(turn: Turn, task: Task) -> Demo:
    """What a demo supplies; fields that it leaves out are absent."""
    supplied = _json_object(turn.assistant) if task.as_json else _sections(turn.assistant, [*task.outputs, "completed"])
    outputs = {name: value for name, value in supplied.items() if not value.startswith(_NOT_SUPPLIED)}
    return Demo(read_inputs(turn.user, task.inputs), outputs)


def readable(value: str) -> str:
    """An input as plain text: a list of passages becomes paragraphs, anything else stays as it is."""
    if not value.startswith(("[", "{")):
        return value
    try:
        return "\n\n".join(_strings(json.loads(value))) or value
    except (ValueError, RecursionError):
        return value


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return []


def _sections(text: str, names: Iterable[str]) -> dict[str, str]:
    text = text[:MAX_INPUT_CHARACTERS]
    wanted = set(names)
    found: list[tuple[str, int, int]] = []
    for header in _HEADER.finditer(text):
        name = header.group(1)
        if name in wanted:
            wanted.discard(name)
            found.append((name, header.start(), header.end()))
    ends = [start for _, start, _ in found[1:]] + [len(text)]
    return {
        name: text[begin:end].strip() for (name, _, begin), end in zip(found, ends, strict=True) if name != "completed"
    }


def _json_object(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {name: _as_text(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _as_text(value: object) -> str:
    """A JSON value in the spelling that the chat adapter uses."""
    if isinstance(value, str | bool):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _json_notes(structure: str) -> dict[str, str]:
    """The JSON adapter writes one object whose values are the chat adapter's lines."""
    try:
        lines = json.loads(structure.split(_JSON_OUTPUTS, 1)[1])
    except ValueError:
        return {}
    return {match[1]: match[2] for line in lines.values() if (match := _NOTE.match(line))}


def _text_of(message: Message) -> str:
    if type(message.parts[0]) is TextPart and len(message.parts) == 1:  # nearly always; thousands per second
        return str(message.parts[0].text)
    if not all(isinstance(part, TextPart) for part in message.parts):
        raise CannotMatch("it reads text only, no images, files or tool results.")
    return _joined(message.parts)


def _joined(parts: Sequence[TextPart]) -> str:
    return parts[0].text if len(parts) == 1 else "\n".join(part.text for part in parts)
