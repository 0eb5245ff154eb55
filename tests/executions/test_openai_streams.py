"""Chat completions that leave while the program runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executions.models import Execution
from mlops.api import streams
from mlops.models import CreditEntry, User
from mlops.services.tokens import revoke_token
from tests.executions.chatting import begun, chat, sent
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_token, make_user
from tests.installation import eventually
from tests.provider import Dictation, Provider, status

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user(provider: Provider) -> User:
    provided_model(provider)
    make_program()
    return make_user(credits=10)


@pytest.fixture
def token(user: User) -> str:
    return make_token(user)[1]


@pytest.fixture
def dictation(provider: Provider) -> Dictation:
    said = Dictation()
    provider.script(said)
    return said


def test_text_comes_in_chunks_as_the_model_says_it(token: str, dictation: Dictation) -> None:
    reply = begun(token, chat(stream=True))
    dictation.say("[[ ## answer ## ]]\nBecause")
    eventually(lambda: len(reply.messages) > 1 and "Because" in reply.text)
    assert Execution.objects.get().state == "running"
    dictation.say(" it is.\n\n[[ ## completed ## ]]")
    dictation.end()
    assert reply.ended is not None
    reply.ended.result(30)

    row = Execution.objects.get()
    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert reply.headers["x-execution-id"] == str(row.pk)
    assert row.output == {"answer": "Because it is."}
    assert reply.text == "Because it is."
    *chunks, done = reply.events
    assert done == "[DONE]"
    assert {(one["id"], one["object"], one["model"]) for one in chunks} == {
        (f"chatcmpl-{row.pk}", "chat.completion.chunk", "program:answering@1")
    }
    choices = [one["choices"][0] for one in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert len(choices) > 3
    assert not any("usage" in one for one in chunks)


def test_usage_comes_last_where_it_is_asked_for(token: str) -> None:
    reply = sent(token, chat(stream=True, stream_options={"include_usage": True}))

    row = Execution.objects.get()
    *chunks, last, done = reply.events
    assert {json.dumps(one["usage"]) for one in chunks} == {"null"}
    assert (last["choices"], done) == ([], "[DONE]")
    assert last["usage"]["prompt_tokens"] == row.token_usage["input"] > 0
    assert last["usage"]["total_tokens"] == row.token_usage["total"]


@pytest.mark.parametrize(
    ("members", "shorthand"),
    [
        ({"response_format": {"type": "json_object"}}, "question: str -> answer: str"),
        ({}, "question: str -> answer: str, sure: bool"),
        ({}, "question: str -> answer: enum[yes, no]"),
    ],
    ids=["JSON", "several outputs", "an enum"],
)
def test_what_is_no_text_comes_whole(token: str, members: Any, shorthand: str) -> None:
    make_program(name="other", shorthand=shorthand)

    whole = sent(token, chat(model="program:other", **members))
    reply = sent(token, chat(model="program:other", stream=True, **members))

    contents = [one["choices"][0]["delta"].get("content") for one in reply.events[:-1]]
    assert contents == ["", whole.json["choices"][0]["message"]["content"], None]
    assert "x-cost-usd" in reply.headers


def test_fields_that_dspy_asks_for_come_below_their_headers(token: str, dictation: Dictation) -> None:
    make_program(name="noting", shorthand="question: str -> answer: str, sure: bool")
    order = (
        "Respond with the corresponding output fields, starting with the field `[[ ## answer ## ]]`, then "
        "`[[ ## sure ## ]]` (must be formatted as a valid Python bool), and then ending with the marker for "
        "`[[ ## completed ## ]]`."
    )
    reply = begun(token, chat(f"[[ ## question ## ]]\nWhy?\n\n{order}", "program:noting", stream=True))
    dictation.say("[[ ## answer ## ]]\nBecause")
    eventually(lambda: len(reply.messages) > 1 and reply.text == "[[ ## answer ## ]]\nBecause")
    dictation.say(" it is.\n\n[[ ## sure ## ]]\nTrue\n\n[[ ## completed ## ]]")
    dictation.end()
    assert reply.ended is not None
    reply.ended.result(30)

    assert Execution.objects.get().input == {"question": "Why?"}
    assert reply.text == "[[ ## answer ## ]]\nBecause it is.\n\n[[ ## sure ## ]]\ntrue\n\n[[ ## completed ## ]]"
    assert reply.events[-1] == "[DONE]"


def test_only_the_module_that_gives_the_output_is_heard(token: str) -> None:
    make_program(name="thinking", kind="chain_of_thought")

    reply = sent(token, chat(model="program:thinking", stream=True))

    assert reply.text == "some answer"
    assert Execution.objects.get().output == {"answer": "some answer"}


def test_what_fails_before_any_text_has_its_status(token: str, provider: Provider) -> None:
    provider.script(status(500))

    reply = sent(token, chat(stream=True))

    row = Execution.objects.get()
    assert (reply.status, reply.headers["content-type"]) == (502, "application/json")
    assert (reply.error["code"], reply.error["message"]) == ("provider_unavailable", row.error_message)
    assert reply.headers["x-execution-id"] == str(row.pk)


def test_what_fails_after_some_text_ends_with_an_error(token: str, dictation: Dictation) -> None:
    reply = begun(token, chat(stream=True))
    dictation.say("[[ ## answer ## ]]\nBecause")
    eventually(lambda: len(reply.messages) > 1 and "Because" in reply.text)
    dictation.break_off()
    assert reply.ended is not None
    reply.ended.result(30)

    row = Execution.objects.get()
    assert (reply.status, row.state) == (200, "failed")
    assert reply.events[-1] == {
        "error": {"message": row.error_message, "type": "server_error", "param": None, "code": row.error_code}
    }
    assert reply.text == "Because"


def test_a_reader_who_leaves_cancels_it_and_pays_what_was_used(token: str, dictation: Dictation) -> None:
    reply = begun(token, chat(stream=True))
    dictation.say("[[ ## answer ## ]]\nBecause")
    eventually(lambda: len(reply.messages) > 1 and "Because" in reply.text)

    reply.leave()

    row = Execution.objects.get()
    eventually(lambda: state_of(row) == "cancelled")
    assert dictation.left.wait(20)
    assert list(CreditEntry.objects.filter(subject_id=row.pk).order_by("pk").values_list("kind", flat=True)) == [
        "reserve",
        "settle",
    ]


def test_a_reader_who_leaves_before_any_text_cancels_it_too(token: str, dictation: Dictation) -> None:
    reply = begun(token, chat(stream=True))
    eventually(Execution.objects.filter(state="running").exists)

    reply.leave()

    row = Execution.objects.get()
    eventually(lambda: state_of(row) == "cancelled")
    assert reply.messages == []


def test_a_stream_ends_with_its_token(user: User, dictation: Dictation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.05)
    row, token = make_token(user)
    reply = begun(token, chat(stream=True))
    dictation.say("[[ ## answer ## ]]\nBecause")
    eventually(lambda: len(reply.messages) > 1 and "Because" in reply.text)

    revoke_token(actor=user, token=row)

    execution = Execution.objects.get()
    eventually(lambda: state_of(execution) == "cancelled")
    assert dictation.left.wait(20)
    assert reply.text == "Because"
    assert reply.events[-1]["error"]["code"] == "reader_cut_off"
    assert "[DONE]" not in reply.events


def test_a_key_tells_the_answer_of_the_first_request(token: str, provider: Provider) -> None:
    first = sent(token, chat(stream=True), idempotency_key="k1")
    again = sent(token, chat(stream=True), idempotency_key="k1")
    whole = sent(token, chat(), idempotency_key="k1")

    assert again.text == first.text == whole.json["choices"][0]["message"]["content"]
    assert again.events[0]["id"] == first.events[0]["id"] == whole.json["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert Execution.objects.count() == 1 == len(provider.requests)
