"""What a call asked and answered, in the form that traces keep."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from dspy.lm15 import Message, Request, TextPart, ThinkingPart, ToolCallPart, ToolResultPart


def messages_of(request: Request) -> list[dict[str, Any]]:
    """The prompt as role and text; media are told in a few words instead of shown."""
    rows: list[dict[str, Any]] = []
    if request.system:
        system = request.system if isinstance(request.system, str) else _text_of(request.system)
        rows.append({"role": "system", "text": system})
    rows.extend({"role": message.role, "text": _text_of(message.parts)} for message in request.messages)
    return rows


def prompt_of(request: Request) -> str:
    """Everything the request says, as one text."""
    return "\n".join(row["text"] for row in messages_of(request))


def output_of(message: Message) -> str | dict[str, Any]:
    """The answer's text, or a mapping when the model thought aloud or asked for tools."""
    if all(isinstance(part, TextPart) for part in message.parts):
        return _joined(message)
    output: dict[str, Any] = {"text": _joined(message)}
    if thought := "".join(part.text for part in message.parts if isinstance(part, ThinkingPart)):
        output["reasoning"] = thought
    if calls := [part for part in message.parts if isinstance(part, ToolCallPart)]:
        output["tool_calls"] = [{"name": call.name, "arguments": dict(call.input)} for call in calls]
    return output


def _joined(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def _text_of(parts: Sequence[Any]) -> str:
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return str(parts[0].text)
    return "\n".join(_part_text(part) for part in parts)


def _part_text(part: Any) -> str:
    match part:
        case TextPart() | ThinkingPart():
            return str(part.text)
        case ToolCallPart():
            return f"[tool call {part.name} {part.input}]"
        case ToolResultPart():
            return f"[tool result {part.name or part.id}] {_text_of(part.content)}"
        case _ if hasattr(part, "media_type"):
            return f"[{part.type} {part.media_type}{_size(part)}]"
        case _:
            return f"[{part.type}] {getattr(part, 'text', None) or getattr(part, 'value', '')}".rstrip()


def _size(part: Any) -> str:
    if not part.data:
        return ""
    return f", {len(base64.b64decode(part.data))} bytes"
