"""Chat requests that cannot be served: each is told what is wrong and where, and nothing is executed or charged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executions.models import Execution
from mlops.models import CreditEntry
from tests.executions.chatting import chat, sent
from tests.executions.programs import make_program, provided_model
from tests.factories import make_token, make_user
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}


def user_says(content: Any, **members: Any) -> list[Any]:
    return [{"role": "user", "content": content, **members}]


def formatted(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


DOUBLING = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 50} for n in range(9)} | {"d9": {"type": "number"}}

BODIES: dict[str, tuple[Any, int, str, str | None]] = {
    "nothing": (b"", 400, "malformed_json", None),
    "no JSON": (b'{"model": ', 400, "malformed_json", None),
    "a list": ([], 400, "not_an_object", None),
    "NaN": (b'{"model": "program:answering", "temperature": NaN}', 400, "not_a_number", None),
    "NUL": (chat("a\0"), 400, "unstorable_text", "messages.0.content"),
    "depth 5,000": (b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "too_deep", None),
    "more than 1 MB": (chat("x" * 1_000_001), 413, "body_too_large", None),
    "no model": ({"messages": user_says("?")}, 400, "required", "model"),
    "a model that is a number": (chat(model=3), 400, "required", "model"),  # type: ignore[arg-type]
    "a model of OpenAI": (chat(model="gpt-4o"), 404, "model_not_found", "model"),
    "a program of no name": (chat(model="program:"), 404, "model_not_found", "model"),
    "no messages": ({"model": "program:answering"}, 400, "required", "messages"),
    "an empty list of messages": (chat(None), 400, "required", "messages"),
    "no message of the user": (chat(messages=[{"role": "system", "content": "Hi"}]), 400, "required", "messages"),
    "10,000 messages": (chat(messages=user_says("?") * 10_000), 400, "too_many_messages", "messages"),
    "a message that is a text": (chat(messages=["Hi"]), 400, "not_an_object", "messages.0"),
    "no role": (chat(messages=[{"content": "Hi"}]), 400, "invalid_choice", "messages.0.role"),
    "another role": (chat(messages=[{"role": "boss", "content": "Hi"}]), 400, "invalid_choice", "messages.0.role"),
    "a list for a role": (chat(messages=[{"role": ["user"], "content": ""}]), 400, "invalid_choice", "messages.0.role"),
    "no content": (chat(messages=[{"role": "user"}]), 400, "not_a_string", "messages.0.content"),
    "a number for content": (chat(messages=user_says(3)), 400, "not_a_string", "messages.0.content"),
    "an image": (chat(messages=user_says([IMAGE])), 400, "unsupported_content", "messages.0.content.0.type"),
    "an image long ago": (
        chat(messages=user_says([{"type": "text", "text": "Look"}, IMAGE]) + user_says("?")),
        400,
        "unsupported_content",
        "messages.0.content.1.type",
    ),
    "audio": (chat(messages=user_says([AUDIO])), 400, "unsupported_content", "messages.0.content.0.type"),
    "a part that is a text": (chat(messages=user_says(["Hi"])), 400, "not_an_object", "messages.0.content.0"),
    "a part without text": (
        chat(messages=user_says([{"type": "text"}])),
        400,
        "not_a_string",
        "messages.0.content.0.text",
    ),
    "tools": (chat(tools=[TOOL]), 400, "unsupported_parameter", "tools"),
    "a choice of tools": (chat(tool_choice="required"), 400, "unsupported_parameter", "tool_choice"),
    "functions": (chat(functions=[TOOL["function"]]), 400, "unsupported_parameter", "functions"),
    "a tool's answer": (
        chat(messages=[*user_says("?"), {"role": "tool", "content": "4", "tool_call_id": "c"}]),
        400,
        "unsupported_content",
        "messages.1",
    ),
    "calls of tools": (
        chat(messages=[*user_says("?"), {"role": "assistant", "tool_calls": [{"id": "c"}]}]),
        400,
        "unsupported_content",
        "messages.1",
    ),
    "two choices": (chat(n=2), 400, "unsupported_parameter", "n"),
    "log probabilities": (chat(logprobs=True), 400, "unsupported_parameter", "logprobs"),
    "stop words": (chat(stop=["\n"]), 400, "unsupported_parameter", "stop"),
    "spoken answers": (chat(modalities=["text", "audio"]), 400, "unsupported_parameter", "modalities"),
    "a search of the web": (chat(web_search_options={}), 400, "unsupported_parameter", "web_search_options"),
    "a choice that is a boolean": (chat(n=True), 400, "unsupported_parameter", "n"),
    "log probabilities that are a number": (chat(logprobs=0), 400, "unsupported_parameter", "logprobs"),
    "an unknown option of the stream": (
        chat(stream_options={"include_cost": True}),
        400,
        "unknown_field",
        "stream_options.include_cost",
    ),
    "a schema where none is read": (
        chat(response_format={"type": "json_object", "schema": {}}),
        400,
        "unknown_field",
        "response_format.schema",
    ),
    "an unknown member of the schema's description": (
        chat(response_format={"type": "json_schema", "json_schema": {"schema": {}, "strictly": True}}),
        400,
        "unknown_field",
        "response_format.json_schema.strictly",
    ),
    "an unknown member": (chat(temprature=1), 400, "unknown_field", "temprature"),
    "stream that is a text": (chat(stream="true"), 400, "not_a_boolean", "stream"),
    "options that are a text": (chat(stream_options="all"), 400, "not_an_object", "stream_options"),
    "usage that is a number": (
        chat(stream_options={"include_usage": 1}),
        400,
        "not_a_boolean",
        "stream_options.include_usage",
    ),
    "input that is a text": (chat(input="Why?"), 400, "not_an_object", "input"),
    "input that there is not": (chat(input={"lm": "mine"}), 400, "invalid_input", "input.lm"),
    "an unknown format": (chat(response_format={"type": "xml"}), 400, "invalid_choice", "response_format.type"),
    "a format that is a text": (chat(response_format="json"), 400, "not_an_object", "response_format"),
    "no schema": (
        chat(response_format={"type": "json_schema"}),
        400,
        "not_an_object",
        "response_format.json_schema.schema",
    ),
    "a schema of other fields": (
        chat(response_format=formatted({"type": "object", "properties": {"total": {}}, "required": ["total"]})),
        400,
        "response_format_incompatible",
        "response_format.json_schema.schema.properties.total",
    ),
    "a schema of another type": (
        chat(response_format=formatted({"type": "object", "properties": {"answer": {"type": "integer"}}})),
        400,
        "response_format_incompatible",
        "response_format.json_schema.schema.properties.answer",
    ),
    "a schema of fields that may be left out and are not there": (
        chat(response_format=formatted({"type": "object", "properties": {"summary": {"type": "string"}}})),
        400,
        "response_format_incompatible",
        "response_format.json_schema.schema.properties",
    ),
    "a property that is no schema": (
        chat(response_format=formatted({"type": "object", "properties": {"answer": {}, "a": 1}})),
        400,
        "response_format_incompatible",
        "response_format.json_schema.schema.properties.a",
    ),
    "a schema that doubles": (
        chat(
            response_format=formatted(
                {"type": "object", "properties": {"answer": {"$ref": "#/$defs/d0"}}, "$defs": DOUBLING}
            )
        ),
        400,
        "response_format_incompatible",
        "response_format.json_schema.schema",
    ),
}


@pytest.fixture
def token(provider: Provider) -> str:
    provided_model(provider)
    make_program()
    return make_token(make_user(credits=10))[1]


def test_what_cannot_be_served_is_refused_and_nothing_happens(token: str, provider: Provider) -> None:
    """One test for all, since nothing of one may be left for the next."""
    entries = CreditEntry.objects.count()
    told = {}
    for name, (body, *_expected) in BODIES.items():
        reply = sent(token, body)
        assert reply.headers["content-type"] == "application/json", name
        assert reply.error["message"], name
        told[name] = (body, reply.status, reply.error["code"], reply.error["param"])
        assert reply.error["type"] == "invalid_request_error", name

    assert {name: case[1:] for name, case in told.items()} == {name: case[1:] for name, case in BODIES.items()}
    assert not Execution.objects.exists()
    assert CreditEntry.objects.count() == entries
    assert provider.requests == []


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_stream_is_refused_in_the_same_way(token: str, is_streamed: bool) -> None:
    reply = sent(token, chat(input={"lm": "mine"}, stream=is_streamed))

    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_input", "input.lm")
    assert not Execution.objects.exists()


def test_as_many_messages_as_are_read(token: str) -> None:
    assert sent(token, chat(messages=user_says("?") * 2_048)).status == 200


def test_the_message_of_an_error_says_all_that_is_wrong(token: str) -> None:
    reply = sent(token, chat(input={"lm": "mine", "question": 3}))

    assert "input.lm: There is no such field." in reply.error["message"]
    assert "input.question: " in reply.error["message"]
    assert json.loads(reply.content).keys() == {"error"}
