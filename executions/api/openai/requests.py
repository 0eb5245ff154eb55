"""The body of a chat completion: what it asks for, before anything is known of the program."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.utils.translation import gettext as _

from executions.api.openai.schemas import is_among
from mlops.errors import Invalid, NotFound

MODEL_PREFIX = "program:"
MAX_MESSAGES = 2048
ROLES = ("system", "developer", "user", "assistant")

IGNORED = frozenset(
    {
        "frequency_penalty", "max_completion_tokens", "max_tokens", "metadata", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "safety_identifier",
        "seed", "service_tier", "store", "temperature", "top_k", "top_p", "user", "verbosity",
    }
)  # fmt: skip
"""What the program decides itself, or what changes no answer: nobody is misled when it is passed over."""

WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "audio": (None,),
    "function_call": (None, "none", "auto"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "modalities": (None, ["text"]),
    "n": (None, 1),
    "stop": (None, "", []),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "web_search_options": (None,),
}
"""What would change the answer, with the values that do not: any other is refused."""

READ = frozenset({"input", "messages", "model", "response_format", "stream", "stream_options"})


class Format(Enum):
    """In which form the client wants the output."""

    TEXT = "text"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """`text` is the last user message, None without one; `input` are fields of the program's input."""

    program: str
    text: str | None
    input: Mapping[str, Any]
    format: Format
    schema: Mapping[str, Any] | None
    is_streamed: bool
    has_usage: bool


def chat_request_of(body: Any) -> ChatRequest:
    """Raises `NotFound` (`model_not_found`) and `Invalid`, with the first member that is wrong as its field."""
    if not isinstance(body, dict):
        raise Invalid("not_an_object", _('Send an object such as {"model": "program:...", "messages": [...]}.'))
    _refuse_what_is_not_offered(body)
    chosen, schema = _format_of(body.get("response_format"))
    return ChatRequest(
        program=_program_of(body.get("model")),
        text=_last_text(body.get("messages")),
        input=_object(body.get("input"), "input"),
        format=chosen,
        schema=schema,
        is_streamed=_flag(body.get("stream"), "stream"),
        has_usage=_has_usage(body.get("stream_options")),
    )


def program_named(model: str) -> str:
    """The reference in the id of a model. Raises `NotFound` (`model_not_found`)."""
    if not model.startswith(MODEL_PREFIX):
        raise model_not_found()
    return model.removeprefix(MODEL_PREFIX)


def model_not_found() -> NotFound:
    return NotFound(
        "model_not_found",
        _("There is no such model. Models are programs that you may execute, such as program:triage."),
        field="model",
    )


def _refuse_what_is_not_offered(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name in WITHOUT_EFFECT:
            if not is_among(value, WITHOUT_EFFECT[name]):
                raise Invalid("unsupported_parameter", _("A program offers nothing of the kind."), field=name)
        elif name not in READ and name not in IGNORED:
            raise _unknown(name)


def _program_of(model: Any) -> str:
    if not isinstance(model, str) or not model:
        raise Invalid("required", _("Name a program, such as program:triage."), field="model")
    return program_named(model)


def _last_text(messages: Any) -> str | None:
    if not isinstance(messages, list):
        raise Invalid("required", _("Messages are a list of objects with role and content."), field="messages")
    if len(messages) > MAX_MESSAGES:
        raise Invalid(
            "too_many_messages",
            _("More than %(most)d messages; a program reads the last one of the user.") % {"most": MAX_MESSAGES},
            field="messages",
        )
    last = None
    for index, message in enumerate(messages):
        text = _text_of(message, f"messages.{index}")
        if message["role"] == "user":
            last = text
    return last


def _text_of(message: Any, path: str) -> str:
    if not isinstance(message, dict):
        raise Invalid("not_an_object", _("A message is an object with role and content."), field=path)
    role, content = message.get("role"), message.get("content")
    if role in ("tool", "function") or message.get("tool_calls") or message.get("function_call"):
        raise Invalid("unsupported_content", _("Programs call no tools of a client."), field=path)
    if role not in ROLES:
        expected = _("Expected one of %(roles)s.") % {"roles": ", ".join(ROLES)}
        raise Invalid("invalid_choice", expected, field=f"{path}.role")
    if content is None and role == "assistant":
        return ""
    if isinstance(content, list):
        return "\n".join(_text_of_part(part, f"{path}.content.{index}") for index, part in enumerate(content))
    if not isinstance(content, str):
        raise Invalid("not_a_string", _("Expected a string, or a list of parts."), field=f"{path}.content")
    return content


def _text_of_part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise Invalid("not_an_object", _("A part is an object with its type."), field=path)
    kind = part.get("type")
    if kind not in ("text", "refusal"):
        raise Invalid("unsupported_content", _("Programs read text only."), field=f"{path}.type")
    if not isinstance(text := part.get(kind), str):
        raise Invalid("not_a_string", _("Expected a string."), field=f"{path}.{kind}")
    return text


def _format_of(asked: Any) -> tuple[Format, Mapping[str, Any] | None]:
    named = _object(asked, "response_format")
    kinds = [one.value for one in Format]
    if (kind := named.get("type", Format.TEXT.value)) not in kinds:
        message = _("Expected one of %(kinds)s.") % {"kinds": ", ".join(kinds)}
        raise Invalid("invalid_choice", message, field="response_format.type")
    if kind != Format.JSON_SCHEMA.value:
        _refuse_others(named, {"type"}, "response_format")
        return Format(kind), None
    _refuse_others(named, {"type", "json_schema"}, "response_format")
    path = "response_format.json_schema"
    described = _object(named.get("json_schema"), path)
    _refuse_others(described, {"name", "description", "schema", "strict"}, path)
    schema = described.get("schema")
    if not isinstance(schema, dict):
        raise Invalid("not_an_object", _("A schema is an object."), field=f"{path}.schema")
    return Format.JSON_SCHEMA, schema


def _has_usage(options: Any) -> bool:
    told = _object(options, "stream_options")
    _refuse_others(told, {"include_usage", "include_obfuscation"}, "stream_options")
    return _flag(told.get("include_usage"), "stream_options.include_usage")


def _refuse_others(value: Mapping[str, Any], known: Collection[str], path: str) -> None:
    for name in value:
        if name not in known:
            raise _unknown(f"{path}.{name}")


def _unknown(path: str) -> Invalid:
    return Invalid("unknown_field", _("There is no such field."), field=path)


def _object(value: Any, path: str) -> Mapping[str, Any]:
    """`value`, or an empty object in the place of null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid("not_an_object", _("Expected an object."), field=path)
    return value


def _flag(value: Any, path: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise Invalid("not_a_boolean", _("Expected true or false."), field=path)
    return bool(value)
