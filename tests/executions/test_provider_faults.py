"""Whatever a provider does, an execution ends with a reason or by a fallback, is charged once, and gives nothing away.

The provider is a real HTTP server on loopback, and everything above it is the product: rows, services, REST, admin.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from executions.models import Execution
from executions.services import process
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess
from executions.types import Mode
from mlops.models import CreditEntry, User
from mlops.sanitiser import problem_in
from mlops.selectors import proven_balance
from mlops.services.credits import credits_for
from mlops.services.history import operator
from mlops.services.language_models import set_fallbacks, set_secret
from tests.conftest import api_of
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.provider import Provider, garbage, half_body, reset, status, text, trickle
from tests.provider.server import Behaviour, Exchange

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT = "Where is parcel 4711 of Mrs Petersen in Nordstrand?"
CANARY, SPARE_CANARY = "sk-canary-6f1d0b7c9e2a4d58", "sk-spare-0a8e44b1c7d39f62"
GRANTED = 10_000_000

FAULTS: dict[str, tuple[Callable[[], Behaviour], str, bool]] = {
    "401": (lambda: status(401, message=PROMPT), "authentication", False),
    "429": (lambda: status(429, retry_after=3600, message=PROMPT), "rate_limited", False),
    "500": (lambda: status(500, message=PROMPT), "provider_unavailable", True),
    "garbage": (garbage, "provider_unavailable", True),
    "half a body": (half_body, "provider_unavailable", True),
    "one byte a second": (lambda: trickle(1.0), "timeout", True),
    "reset": (reset, "provider_unavailable", True),
}


def limits_for(code: str) -> dict[str, float]:
    """Short where a limit is what ends the call; everywhere else none that a busy machine could reach."""
    return {"timeout_s": 0.6, "deadline_s": 20} if code == "timeout" else {"timeout_s": 30, "deadline_s": 60}


every_fault = pytest.mark.parametrize(("fault", "code", "is_retried"), FAULTS.values(), ids=FAULTS)


@pytest.fixture
def backup() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def execute(actor: User, **options: Any) -> Execution:
    execution = execute_program(actor=actor, program="answering", input={"question": PROMPT}, **options)
    return Execution.objects.get(pk=execution.pk)


def asked_spans(row: Execution) -> list[dict[str, Any]]:
    """The llm spans of the trace."""
    assert row.trace is not None
    return [span for span in row.trace["spans"] if span["kind"] == "llm"]


def ledger_of(row: Execution) -> list[str]:
    return list(CreditEntry.objects.filter(subject_id=row.pk).order_by("pk").values_list("kind", flat=True))


def assert_nothing_hangs(provider: Provider) -> None:
    here = process.present()
    assert here is not None
    assert not here.running
    eventually(lambda: provider.in_flight == 0)


# Without a fallback


@every_fault
def test_a_fault_ends_the_execution_with_its_code_and_costs_nothing(
    provider: Provider, fault: Callable[[], Behaviour], code: str, is_retried: bool
) -> None:
    provided_model(provider, **limits_for(code))
    make_program()
    provider.script(fault())
    user = make_user(credits=10)

    row = execute(user)

    assert (row.state, row.error_code, row.error_module, row.output) == ("failed", code, "main", None)
    assert row.error_message
    assert not any(word in row.error_message for word in (PROMPT[:20], "Traceback", ".py", "Error:", provider.base_url))
    assert (row.cost, row.credits_used, row.total_tokens) == (0, 0, 0)
    assert ledger_of(row) == ["reserve", "release"]
    assert proven_balance(user) == GRANTED
    assert [attempt["code"] for attempt in asked_spans(row)[0]["attempts"]] == [code]
    assert_nothing_hangs(provider)


def test_one_byte_a_second_ends_by_the_deadline_of_the_model_whatever_its_retries(provider: Provider) -> None:
    provided_model(provider, timeout_s=0.3, deadline_s=0.7, max_retries=10)
    make_program()
    provider.script(*[trickle(1.0) for _ in range(11)])

    row = execute(make_user(credits=10))

    assert (row.state, row.error_code) == ("failed", "timeout")
    assert len(provider.requests) <= 3
    assert_nothing_hangs(provider)


def test_a_provider_that_stays_away_is_asked_as_often_as_the_model_says(provider: Provider) -> None:
    provided_model(provider, max_retries=1)
    make_program()
    provider.script(status(500), reset())

    row = execute(make_user(credits=10))

    assert (row.state, row.error_code) == ("failed", "provider_unavailable")
    assert (asked_spans(row)[0]["retries"], len(provider.requests)) == (1, 2)


# With a fallback


@every_fault
def test_a_fallback_answers_and_its_price_is_charged(
    provider: Provider, backup: Provider, fault: Callable[[], Behaviour], code: str, is_retried: bool
) -> None:
    model = provided_model(provider, max_retries=1, **limits_for(code))
    spare = provided_model(backup, price={"input_price": 7_000_000, "output_price": 11_000_000})
    set_fallbacks(actor=operator(), model=model, fallbacks=[spare])
    make_program()
    attempts = 2 if is_retried else 1
    provider.script(*[fault() for _ in range(attempts)])
    user = make_user(credits=10_000)

    row = execute(user)

    (span,) = asked_spans(row)
    assert (row.state, row.output, row.attempt) == ("completed", {"answer": "some answer"}, 1)
    assert (span["name"], span["model"], span["fallback"]) == (model.name, spare.name, spare.name)
    assert (span.get("retries", 0), len(provider.requests), len(backup.requests)) == (attempts - 1, attempts, 1)
    assert [(attempt["model"], attempt["code"]) for attempt in span["attempts"]] == [(model.name, code)] * attempts
    usage = row.token_usage
    assert list(usage["by_model"]) == [spare.name]
    assert row.cost == span["cost"] == usage["input"] * 7_000_000 + usage["output"] * 11_000_000 > 0
    assert row.prices == [str(spare.prices.get().pk)]
    assert spare.name in row.language_models
    assert row.credits_used == credits_for(row.cost or 0) > 0
    assert ledger_of(row) == ["reserve", "settle"]
    assert proven_balance(user) == 10_000_000_000 - row.credits_used
    assert_nothing_hangs(provider)


def test_when_the_fallback_fails_too_its_reason_is_told(provider: Provider, backup: Provider) -> None:
    model, spare = provided_model(provider), provided_model(backup)
    set_fallbacks(actor=operator(), model=model, fallbacks=[spare])
    make_program()
    provider.script(status(500))
    backup.script(status(401))
    user = make_user(credits=10)

    row = execute(user)

    assert (row.state, row.error_code) == ("failed", "authentication")
    attempts = [(attempt["model"], attempt["code"]) for attempt in asked_spans(row)[0]["attempts"]]
    assert attempts == [(model.name, "provider_unavailable"), (spare.name, "authentication")]
    assert proven_balance(user) == GRANTED


# Answers that are none


def test_unparsable_answers_fail_and_are_charged_once_for_both_calls(provider: Provider) -> None:
    model = provided_model(provider)
    make_program()
    provider.script(text("no field in here"), text("and none in here"))
    user = make_user(credits=10)

    row = execute(user)

    assert (row.state, row.error_code, row.error_module) == ("failed", "unparsable_output", "main")
    assert "in here" not in row.error_message
    first, second = asked_spans(row)
    tokens = [span["usage"]["total"] for span in (first, second)]
    assert row.token_usage["total"] == sum(tokens) > max(tokens)
    assert row.cost == first["cost"] + second["cost"] > 0
    assert list(row.token_usage["by_model"]) == [model.name]
    assert row.credits_used == credits_for(row.cost or 0) > 0
    assert ledger_of(row) == ["reserve", "settle"]
    assert proven_balance(user) == GRANTED - row.credits_used
    assert len(provider.requests) == 2


def in_ascii(code: int, body: Any) -> Behaviour:
    """A body in ASCII JSON, which can say what UTF-8 cannot: lone surrogates."""

    async def behave(exchange: Exchange) -> None:
        exchange.send(code, json.dumps(body).encode())

    return behave


def answered(content: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    whole = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    return {**whole, **more}


UNSTORABLE = "be\x00cause \ud800"
IN_CHAT, IN_JSON = f"[[ ## answer ## ]]\n{UNSTORABLE}\n\n[[ ## completed ## ]]", json.dumps({"answer": UNSTORABLE})


@pytest.mark.parametrize("mode", [Mode.SYNC, Mode.ASYNC])
@pytest.mark.parametrize(
    ("adapter", "body"),
    [
        ("chat", answered(IN_CHAT)),
        ("json", answered(IN_JSON)),
        ("chat", answered(IN_CHAT, id=UNSTORABLE, model=UNSTORABLE)),
        ("chat", answered(IN_CHAT, usage={"prompt_tokens": 10, "completion_tokens": 5, UNSTORABLE: UNSTORABLE})),
    ],
    ids=["chat", "json", "in the model's name", "in the usage"],
)
def test_what_no_database_keeps_is_replaced_and_flagged(
    provider: Provider, worker: ExecutionProcess, adapter: str, body: Any, mode: Mode
) -> None:
    provided_model(provider)
    make_program(config={"adapter": adapter})
    provider.script(in_ascii(200, body))
    user = make_user(credits=10)

    pending = execute(user, mode=mode)

    eventually(lambda: state_of(pending) == "completed")
    row = Execution.objects.get(pk=pending.pk)
    assert row.output == {"answer": "be\ufffdcause \ufffd"}
    assert row.flags == ["unstorable_replaced"]
    assert (row.token_usage["total"], row.credits_used) == (15, credits_for(10 * 400_000 + 5 * 1_600_000))
    assert problem_in([row.trace, row.token_usage, row.language_models]) is None
    assert api_of(user).get(f"/api/v1/executions/{row.pk}/").json()["output"] == row.output


@pytest.mark.parametrize("code", [400, 500])
def test_an_error_that_no_database_keeps_is_stored_too(provider: Provider, code: int) -> None:
    provided_model(provider)
    make_program()
    error = {"message": f"refused {UNSTORABLE}", "type": UNSTORABLE, "param": None, "code": UNSTORABLE}
    provider.script(in_ascii(code, {"error": error}))
    user = make_user(credits=10)

    row = execute(user)

    assert row.state == "failed"
    assert problem_in([row.error_message, row.trace]) is None
    assert proven_balance(user) == GRANTED


# Secrets


def echo(code: int) -> Behaviour:
    """A careless gateway that shows the request's own credentials in its error."""

    async def behave(exchange: Exchange) -> None:
        said = exchange.provider.requests[-1].headers["authorization"]
        error = {"message": f"Refused with Authorization: {said}.", "type": said, "param": said, "code": said}
        exchange.send(code, json.dumps({"error": error}).encode(), {"x-echo": said})

    return behave


def every_row_of_the_database() -> Iterator[tuple[str, str]]:
    """Each table with the text of each of its rows."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            yield from ((table, repr(row)) for row in cursor.fetchall())


def holds_a_secret(text: str) -> bool:
    return CANARY in text or SPARE_CANARY in text


def test_secrets_that_providers_echo_are_found_nowhere(
    provider: Provider,
    backup: Provider,
    worker: ExecutionProcess,
    admin: User,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    model = set_secret(actor=operator(), model=provided_model(provider), value=CANARY)
    spare = set_secret(actor=operator(), model=provided_model(backup), value=SPARE_CANARY)
    set_fallbacks(actor=operator(), model=model, fallbacks=[spare])
    make_program()
    user, rows = make_user(credits=10_000), []
    for code in (400, 401, 404, 429, 500):
        for mode in (Mode.SYNC, Mode.ASYNC):
            provider.script(echo(code))
            backup.script(*[echo(code)] * (code in (401, 429, 500)))
            pending = execute(user, mode=mode)
            eventually(lambda: state_of(pending) == "failed")  # noqa: B023
            rows.append(Execution.objects.get(pk=pending.pk))
    provider.script(text(f"[[ ## answer ## ]]\nYour key is {CANARY}.\n\n[[ ## completed ## ]]"), echo(400))
    rows.append(execute(user))
    posted = api_of(user).post("/api/v1/programs/answering/execute/", {"input": {"question": PROMPT}}, format="json")

    assert rows[-1].state == "completed"
    assert {request.headers["authorization"] for request in provider.requests} == {f"Bearer {CANARY}"}
    assert {request.headers["authorization"] for request in backup.requests} == {f"Bearer {SPARE_CANARY}"}
    browser = Client()
    browser.force_login(admin)
    answers: list[Any] = [posted, browser.get("/admin/executions/execution/")]
    for row in rows:
        answers.append(browser.get(f"/admin/executions/execution/{row.pk}/change/"))
        answers.append(api_of(user).get(f"/api/v1/executions/{row.pk}/"))
    for reader in (user, admin):
        answers += [api_of(reader).get(f"/api/v1/{name}/") for name in ("executions", "language-models")]
    written = capfd.readouterr()
    stored = list(every_row_of_the_database())
    assert {answer.status_code for answer in answers} <= {200, 403}
    assert any(PROMPT in text for _table, text in stored)  # the search finds what is there
    assert [table for table, text in stored if holds_a_secret(text)] == []
    assert [answer for answer in answers if holds_a_secret(answer.content.decode())] == []
    assert [record for record in caplog.records if holds_a_secret(f"{record.getMessage()} {record.exc_text}")] == []
    assert not holds_a_secret(written.out + written.err)
