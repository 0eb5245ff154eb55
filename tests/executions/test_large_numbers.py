"""Numbers beyond 64 bits and text that is not Unicode, at every place where they can come in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from executions.models import Execution
from executions.services import execute_program, try_metric
from mlops.models import CreditEntry, User
from mlops.services.budgets import create_budget
from mlops.types import PICO_PER_USD, Role
from tests.executions.evaluating import right_answer
from tests.executions.programs import make_program, provided_model
from tests.executions.test_rest import EXECUTE, Send, through_django, through_the_lean_route
from tests.factories import make_token, make_user
from tests.fakes import fields
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

LARGE = 10**25


@pytest.fixture
def user(provider: Provider) -> User:
    provided_model(provider)
    make_program(shorthand="n: int -> count: int")
    provider.answer(lambda body: fields(count=LARGE))
    create_budget(actor=make_user(Role.ADMIN.value), scope="installation", period="day", limit=PICO_PER_USD)
    return make_user(credits=10)


@pytest.fixture(params=[through_django, through_the_lean_route], ids=["django", "lean"])
def send(request: pytest.FixtureRequest) -> Send:
    chosen: Send = request.param
    return chosen


def body(n: int) -> bytes:
    return json.dumps({"input": {"n": n}}).encode()


def test_a_large_number_is_executed_answered_and_stored(send: Send, user: User) -> None:
    reply = send(make_token(user)[1], EXECUTE, body(2**64))
    row = Execution.objects.get()
    assert (reply.status, row.state) == (200, "completed")
    assert (row.input, row.output) == ({"n": 2**64}, {"count": LARGE})
    assert (reply.body["input"], reply.body["output"]) == (row.input, row.output)
    assert all(str(LARGE) in json.dumps(trace) for trace in (reply.body["trace"], row.trace))
    assert CreditEntry.objects.filter(subject_id=row.pk, kind="settle").count() == 1


def test_a_key_stands_for_its_large_number(send: Send, user: User, provider: Provider) -> None:
    token = make_token(user)[1]
    first, again = (send(token, EXECUTE, body(2**64), idempotency_key="k") for _ in range(2))
    other = send(token, EXECUTE, body(2**64 + 1), idempotency_key="k")
    assert (first.status, again.status, again.body["id"]) == (200, 200, first.body["id"])
    assert (other.status, other.body["code"]) == (409, "idempotency_key_reused")
    assert len(provider.requests) == 1


@pytest.mark.parametrize("digits", [4_300, 4_301, 100_000])
def test_no_number_is_an_error_of_ours(send: Send, user: User, digits: int) -> None:
    reply = send(make_token(user)[1], EXECUTE, b'{"input": {"n": %s}}' % (b"9" * digits))
    assert (reply.status, reply.body["code"]) == (
        (400, "number_too_large") if digits == 4_300 else (400, "malformed_json")
    )
    assert not Execution.objects.exists()


def test_text_that_is_not_unicode_is_replaced_in_an_answer(provider: Provider, user: User) -> None:
    make_program(name="saying", shorthand="n: int -> words: list[str]")
    provider.answer(lambda body: '[[ ## words ## ]]\n["a\\ud800"]\n\n[[ ## completed ## ]]')
    row = execute_program(actor=user, program="saying", input={"n": 1})
    assert (row.state, row.output) == ("completed", {"words": ["a\N{REPLACEMENT CHARACTER}"]})


def test_the_address_of_an_execution_answers_its_large_number(user: User, client: Any) -> None:
    row = execute_program(actor=user, program="answering", input={"n": 2**64})
    answer = client.get(f"/api/v1/executions/{row.pk}/", headers={"Authorization": f"Bearer {make_token(user)[1]}"})
    assert answer.status_code == 200
    assert json.loads(answer.content)["output"] == {"count": LARGE}


def test_a_metric_is_tried_on_large_numbers(erin: User) -> None:
    same = right_answer(erin)
    assert try_metric(actor=erin, metric=same, example={"answer": LARGE}, output={"answer": LARGE}).value == 1.0
