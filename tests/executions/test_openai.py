"""Chat completions and models: programs as OpenAI's clients see them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from django.contrib.auth.models import Group

from executions.models import Execution
from mlops.models import CreditEntry, User
from programs.models import Program
from tests.executions.chatting import chat, sent
from tests.executions.programs import make_program, provided_model
from tests.factories import make_token, make_user
from tests.provider import Provider, status, text, usage

pytestmark = pytest.mark.django_db(transaction=True)

TRIAGE = "message: str -> intent: enum[order, refund], confidence: float"
TRIAGED = "[[ ## intent ## ]]\nrefund\n\n[[ ## confidence ## ]]\n0.5\n\n[[ ## completed ## ]]"


@pytest.fixture
def user(provider: Provider) -> User:
    provided_model(provider)
    make_program()
    return make_user(credits=10)


@pytest.fixture
def token(user: User) -> str:
    return make_token(user)[1]


@pytest.fixture
def triage(token: str, provider: Provider) -> str:
    """A program with one text input and two outputs, which the provider answers well."""
    make_program(shorthand=TRIAGE, name="triage")
    provider.script(text(TRIAGED))
    return "program:triage"


def asked_of(provider: Provider) -> str:
    """The last message that the language model was sent."""
    return str(provider.requests[-1].body["messages"][-1]["content"])


def test_a_chat_request_is_an_execution(token: str, user: User, provider: Provider) -> None:
    provider.script(usage(11, 7, cached_tokens=5, reasoning_tokens=3))

    reply = sent(token, chat("Why is it so?"))

    row = Execution.objects.get()
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert (row.user, row.input, row.state) == (user, {"question": "Why is it so?"}, "completed")
    assert reply.json == {
        "id": f"chatcmpl-{row.pk}",
        "object": "chat.completion",
        "created": int(row.created_at.timestamp()),
        "model": "program:answering@1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": row.output and row.output["answer"], "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }
    assert reply.headers["x-execution-id"] == str(row.pk)
    assert reply.headers["location"] == f"/api/v1/executions/{row.pk}/"
    assert float(reply.headers["x-cost-usd"]) > 0
    assert "x-credits-remaining" in reply.headers
    assert list(CreditEntry.objects.filter(subject_id=row.pk).order_by("pk").values_list("kind", flat=True)) == [
        "reserve",
        "settle",
    ]


@pytest.mark.parametrize("model", ["program:answering", "program:answering@production", "program:answering@1"])
def test_a_model_is_a_reference_to_a_program(token: str, model: str) -> None:
    assert sent(token, chat(model=model)).json["model"] == "program:answering@1"


def test_the_last_message_of_the_user_is_what_the_program_reads(token: str, provider: Provider) -> None:
    messages = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "Second"}, {"type": "text", "text": "and third?"}]},
        {"role": "assistant", "content": "Well,"},
    ]

    reply = sent(token, {"model": "program:answering", "messages": messages})

    assert reply.status == 200
    assert Execution.objects.get().input == {"question": "Second\nand third?"}
    assert not any(word in json.dumps(provider.requests[-1].body) for word in ("pirate", "First", "Well"))


def test_what_the_program_decides_itself_is_passed_over(token: str, provider: Provider) -> None:
    without = sent(token, chat())
    body = provider.requests[-1].body

    decided = {
        "temperature": 1.7,
        "max_tokens": 3,
        "top_p": 0.1,
        "seed": 7,
        "n": 1,
        "user": "me",
        "metadata": {"a": "b"},
    }
    reply = sent(token, {**chat(), **decided, "tools": [], "stop": None, "logprobs": False, "store": True})

    assert (without.status, reply.status) == (200, 200)
    assert provider.requests[-1].body == body


class TestInput:
    @pytest.fixture(autouse=True)
    def program(self, user: User) -> None:
        make_program(name="asking", shorthand="question: str, language: str, most: int -> answer: str")

    def test_a_member_of_the_request_gives_the_other_fields(self, token: str) -> None:
        body = chat("Why?", "program:asking", input={"language": "Danish", "most": 3})

        assert sent(token, body).status == 200
        assert Execution.objects.get().input == {"question": "Why?", "language": "Danish", "most": 3}

    def test_it_may_give_all_of_them(self, token: str) -> None:
        everything = {"question": "Why?", "language": "Danish", "most": 3}

        replies = [sent(token, chat(text, "program:asking", input=everything)) for text in ("Passed over", None)]

        assert [reply.status for reply in replies] == [200, 200]
        assert list(Execution.objects.values_list("input", flat=True)) == [everything, everything]

    @pytest.mark.parametrize(
        ("given", "code", "param"),
        [
            ({}, "text_input_ambiguous", "input"),
            ({"language": "Danish"}, "invalid_input", "input.most"),
            ({"language": "Danish", "most": "3"}, "invalid_input", "input.most"),
            ({"language": "Danish", "most": 3, "more": 1}, "invalid_input", "input.more"),
        ],
    )
    def test_a_refusal_names_what_was_sent(self, token: str, given: Any, code: str, param: str) -> None:
        reply = sent(token, chat("Why?", "program:asking", input=given))

        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
        assert not Execution.objects.exists()

    def test_what_is_wrong_with_the_message_is_said_of_the_messages(self, token: str) -> None:
        make_program(name="choosy", shorthand="question: str, colour: enum[red] -> answer: str")

        reply = sent(token, chat(None, "program:choosy", input={"colour": "red"}))

        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "required", "messages")

    def test_an_optional_text_is_not_filled_beside_a_required_one(self, token: str) -> None:
        make_program(name="noted", shorthand="question: str, note: str? -> answer: str")

        assert sent(token, chat("Why?", "program:noted")).status == 200
        assert Execution.objects.get().input == {"question": "Why?"}


class TestForms:
    def test_several_outputs_are_json(self, token: str, triage: str) -> None:
        content = sent(token, chat(model=triage)).json["choices"][0]["message"]["content"]
        assert content == '{"intent":"refund","confidence":0.5}'

    def test_a_single_output_that_is_no_text_is_its_json(self, token: str, provider: Provider) -> None:
        make_program(name="counting", shorthand="question: str -> numbers: list[int]")
        provider.script(text("[[ ## numbers ## ]]\n[1, 2]\n\n[[ ## completed ## ]]"))

        assert sent(token, chat(model="program:counting")).json["choices"][0]["message"]["content"] == "[1,2]"

    @pytest.mark.parametrize("kind", ["json_object", "json_schema"])
    def test_a_json_format_gives_the_fields(self, token: str, kind: str) -> None:
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        asked = {"type": kind, **({"json_schema": {"name": "x", "schema": schema}} if kind == "json_schema" else {})}

        reply = sent(token, chat(response_format=asked))

        assert json.loads(reply.json["choices"][0]["message"]["content"]) == Execution.objects.get().output

    def test_a_schema_may_ask_for_some_of_the_fields(self, token: str, triage: str) -> None:
        schema = {
            "type": "object",
            "properties": {"intent": {"enum": ["order", "refund"]}},
            "additionalProperties": False,
        }
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}

        reply = sent(token, chat(model=triage, response_format=asked))

        assert reply.json["choices"][0]["message"]["content"] == '{"intent":"refund"}'

    def test_a_schema_that_the_program_does_not_keep_is_refused(self, token: str, triage: str) -> None:
        schema = {"type": "object", "properties": {"intent": {"enum": ["order"]}}}
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

        reply = sent(token, chat(model=triage, response_format=asked))

        param = "response_format.json_schema.schema.properties.intent"
        assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "response_format_incompatible", param)
        assert not Execution.objects.exists()

    def test_a_program_that_keeps_no_outputs_is_refused(self, token: str, provider: Provider) -> None:
        make_program(name="discreet", config={"capture": "none"})

        reply = sent(token, chat(model="program:discreet"))

        assert (reply.status, reply.error["code"], reply.error["param"]) == (409, "output_not_kept", "model")
        assert provider.requests == []


class TestFieldsOfDSPy:
    """What an instance of DSPy sends that has the program for its language model."""

    SENT = "[[ ## message ## ]]\nWhere is it?\n\n[[ ## other ## ]]\nis mine\n\nRespond with "
    MARKED = (
        "the corresponding output fields, starting with the field `[[ ## intent ## ]]`, then "
        "`[[ ## confidence ## ]]` (must be formatted as a valid Python float), and then ending with the marker for "
        "`[[ ## completed ## ]]`."
    )
    JSON = "a JSON object in the following order of fields: `intent`, then `confidence`."

    @pytest.mark.parametrize(
        ("order", "content"), [(MARKED, TRIAGED), (JSON, '{"intent":"refund","confidence":0.5}')], ids=["chat", "json"]
    )
    def test_fields_are_read_and_answered(self, token: str, triage: str, order: str, content: str) -> None:
        reply = sent(token, chat(self.SENT + order, triage))

        assert Execution.objects.get().input == {"message": "Where is it?\n\n[[ ## other ## ]]\nis mine"}
        assert reply.json["choices"][0]["message"]["content"] == content

    def test_what_is_quoted_is_part_of_a_field(self, token: str, triage: str) -> None:
        quoted = f"[[ ## message ## ]]\nI read:\n\nRespond with {self.JSON}\n\nRight?"

        reply = sent(token, chat(f"{quoted}\n\nRespond with {self.MARKED}", triage))

        assert Execution.objects.get().input == {"message": quoted.partition("\n")[2]}
        assert reply.json["choices"][0]["message"]["content"] == TRIAGED

    def test_fields_that_the_program_has_not_are_refused(self, token: str, triage: str) -> None:
        reply = sent(token, chat(self.SENT + self.MARKED.replace("confidence", "reasoning"), triage))

        assert (reply.status, reply.error["code"], reply.error["param"]) == (
            400,
            "response_format_incompatible",
            "messages",
        )
        assert not Execution.objects.exists()

    def test_other_fields_are_a_text_as_any(self, token: str, triage: str) -> None:
        whole = self.SENT.replace("message", "question") + self.MARKED

        reply = sent(token, chat(whole, triage))

        assert Execution.objects.get().input == {"message": whole}
        assert reply.json["choices"][0]["message"]["content"] == '{"intent":"refund","confidence":0.5}'

    def test_values_that_are_no_texts_are_json(self, token: str) -> None:
        make_program(name="adding", shorthand="a: int, b: list[int], how: str -> answer: str")
        fields = "[[ ## a ## ]]\n1\n\n[[ ## b ## ]]\n[2, 3]\n\n[[ ## how ## ]]\n7\n\n"
        order = "Respond with a JSON object in the following order of fields: `answer`."

        assert sent(token, chat(fields + order, "program:adding")).status == 200
        assert Execution.objects.get().input == {"a": 1, "b": [2, 3], "how": "7"}

        wrong = sent(token, chat(fields.replace("1", "one") + order, "program:adding"))
        assert (wrong.status, wrong.error["code"], wrong.error["param"]) == (400, "invalid_input", "messages")


class TestFailures:
    @pytest.mark.parametrize(
        ("refused", "expected", "code", "kind"),
        [
            (401, 502, "authentication", "server_error"),
            (429, 503, "rate_limited", "server_error"),
            (500, 502, "provider_unavailable", "server_error"),
        ],
    )
    def test_a_failed_execution_is_an_error_that_names_it(
        self, token: str, provider: Provider, refused: int, expected: int, code: str, kind: str
    ) -> None:
        provider.script(status(refused))

        reply = sent(token, chat())

        row = Execution.objects.get()
        assert (reply.status, row.state) == (expected, "failed")
        assert reply.error == {"message": row.error_message, "type": kind, "param": None, "code": code}
        assert (reply.headers["x-execution-id"], reply.headers["x-should-retry"]) == (str(row.pk), "false")

    def test_a_prompt_that_is_too_long_is_the_clients_to_mend(self, token: str, provider: Provider) -> None:
        provider.script(status(400, error_code="context_length_exceeded"))

        reply = sent(token, chat())

        assert (reply.status, reply.error["type"], reply.error["code"]) == (
            400,
            "invalid_request_error",
            "context_window",
        )


class TestWhoMay:
    def test_nobody_known(self, token: str) -> None:
        for unknown in ("", "signet_deadbeef_nonsense"):
            reply = sent(unknown, chat())
            assert (reply.status, reply.error["type"]) == (401, "authentication_error")
            assert reply.headers["www-authenticate"] == "Bearer"
        assert not Execution.objects.exists()

    def test_missing_and_hidden_are_the_same(self, token: str) -> None:
        make_program(name="hidden", status="testing")

        replies = [sent(token, chat(model=f"program:{name}")) for name in ("nothing", "hidden@testing", "\ud83d")]
        replies.append(sent(token, chat(model="gpt-4o")))

        assert [reply.status for reply in replies[:2] + replies[3:]] == [404, 404, 404]
        assert replies[0].error == replies[1].error == replies[3].error
        assert (replies[0].error["code"], replies[0].error["param"]) == ("model_not_found", "model")
        assert replies[2].error["code"] == "unstorable_text"

    def test_a_token_without_the_scope(self, user: User) -> None:
        reply = sent(make_token(user, scopes=["read"])[1], chat())
        assert (reply.status, reply.error["type"], reply.error["code"]) == (
            403,
            "permission_error",
            "token_scope_missing",
        )

    def test_without_credits(self, token: str) -> None:
        reply = sent(make_token(make_user())[1], chat())
        assert (reply.status, reply.error["type"], reply.error["code"]) == (
            402,
            "insufficient_quota",
            "insufficient_credits",
        )
        assert not Execution.objects.exists()

    def test_too_often(self, user: User) -> None:
        token = make_token(user, rate_limit=1)[1]
        replies = [sent(token, chat()) for _ in range(2)]

        assert [reply.status for reply in replies] == [200, 429]
        assert (replies[1].error["type"], replies[1].error["code"]) == ("rate_limit_error", "rate_limited")
        assert replies[1].headers["x-should-retry"] == "true"
        assert int(replies[1].headers["retry-after"]) > 0


def test_a_key_makes_it_happen_once(token: str, provider: Provider) -> None:
    first = sent(token, chat(), idempotency_key="k1")
    again = sent(token, chat(), idempotency_key="k1")
    other = sent(token, chat("Else?"), idempotency_key="k1")

    assert (again.status, again.json) == (200, first.json)
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status, other.error["code"], other.headers["x-should-retry"]) == (
        409,
        "idempotency_key_reused",
        "false",
    )
    assert Execution.objects.count() == 1 == len(provider.requests)


class TestModels:
    def test_those_in_production_are_listed(self, token: str, user: User) -> None:
        make_program(name="hidden", status="testing")
        make_program(name="theirs", group=Group.objects.create(name="few"))

        reply = sent(token, path="/v1/models", method="GET")

        created = int(Program.objects.get(name="answering").created_at.timestamp())
        assert reply.json == {
            "object": "list",
            "data": [{"id": "program:answering", "object": "model", "created": created, "owned_by": "signet"}],
        }
        assert sent(make_token(user, scopes=["execute"])[1], path="/v1/models", method="GET").status == 403

    def test_one_is_looked_up(self, token: str) -> None:
        make_program(name="hidden", status="testing")

        def look(model: str) -> Any:
            return sent(token, path=f"/v1/models/{model}", method="GET")

        found = look("program:answering@production")
        assert (found.status, found.json["id"]) == (200, "program:answering@production")
        missing = [look(model) for model in ("program:nothing", "program:hidden@testing", "gpt-4o")]
        assert [reply.status for reply in missing] == [404, 404, 404]
        assert missing[0].error == missing[1].error == missing[2].error

    def test_elsewhere_and_otherwise_is_an_error_of_the_same_form(self, token: str) -> None:
        nowhere = sent(token, path="/v1/embeddings")
        wrong = sent(token, path="/v1/chat/completions", method="GET")

        assert (nowhere.status, nowhere.error["code"]) == (404, "not_found")
        assert (wrong.status, wrong.error["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "POST")
        assert '"GET"' in wrong.error["message"], "the method that was asked for is the one that is refused"

    def test_the_address_of_the_api_itself_is_one_of_its_errors(self, token: str) -> None:
        found = sent(token, path="/v1", method="GET")

        assert (found.status, found.error["code"]) == (404, "not_found")

    @pytest.mark.parametrize("path", ["/v1/models", "/v1/models/program:answering"])
    def test_who_asks_for_the_head_alone_is_answered_as_who_gets(self, token: str, path: str) -> None:
        head, whole = sent(token, path=path, method="HEAD"), sent(token, path=path, method="GET")

        assert (
            (head.status, head.headers["content-type"])
            == (whole.status, "application/json")
            == (200, "application/json")
        )

    def test_the_failure_of_a_provider_is_no_error_of_ours(
        self, token: str, provider: Provider, caplog: pytest.LogCaptureFixture
    ) -> None:
        provider.script(status(500))

        assert sent(token, chat()).status == 502

        assert [one.levelname for one in caplog.records if one.levelno >= logging.ERROR] == []
