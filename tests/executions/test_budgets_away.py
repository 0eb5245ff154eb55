"""The database does not answer while budgets are asked: work waits for it, and none of it is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import OperationalError

from executions.models import Execution
from executions.services import cancel_execution, process, run_evaluation_here
from executions.services.execute import execute_program
from executions.services.process import executing
from executions.types import Mode
from mlops.models import User
from mlops.selectors import proven_balance
from mlops.services.budgets import terms
from mlops.services.budgets.terms import Table
from tests.executions.conftest import state_of
from tests.executions.evaluating import asked, evaluate, tell
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

Refusals = Callable[[int], list[int]]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    """Have the budgets not be read for the next few times; how often they were not is in the list."""

    def refuse(times: int) -> list[int]:
        refused: list[int] = []

        def read_table(known: Table) -> Table:
            if len(refused) < times:
                refused.append(1)
                raise OperationalError("server closed the connection unexpectedly")
            return terms.read_table(known)

        monkeypatch.setattr("mlops.services.budgets.keeper.read_table", read_table)
        return refused

    return refuse


def test_an_evaluation_waits_and_scores_every_example_once(provider: Provider, erin: User, refuse: Refusals) -> None:
    provided_model(provider)
    tell(provider)
    evaluation = evaluate(erin, make_program(actor=erin, name="parity", status="draft"), 3)
    refused = refuse(2)

    row = run_evaluation_here(evaluation)

    assert len(refused) == 2
    assert (row.state, row.done, row.errors, row.finish_reason) == ("completed", 3, 0, "finished")
    assert sorted(asked(provider)) == [0, 1, 2]


def test_an_evaluation_that_is_stopped_meanwhile_hands_its_shards_back(
    provider: Provider, erin: User, refuse: Refusals
) -> None:
    provided_model(provider)
    tell(provider)
    evaluation = evaluate(erin, make_program(actor=erin, name="parity", status="draft"), 3)
    refused = refuse(1000)

    row = run_evaluation_here(evaluation, should_stop=lambda: len(refused) > 1)

    assert (row.state, row.done) == ("running", 0)
    assert row.shards.get().state == "pending"
    assert provider.requests == []


def test_what_nobody_foresaw_ends_an_evaluation(
    provider: Provider, erin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    provided_model(provider)
    tell(provider)
    evaluation = evaluate(erin, make_program(actor=erin, name="parity", status="draft"), 3)

    def broken(known: Table) -> Table:
        raise ZeroDivisionError

    monkeypatch.setattr("mlops.services.budgets.keeper.read_table", broken)

    row = run_evaluation_here(evaluation)

    assert (row.state, row.error_code, row.done) == ("failed", "internal_error", 0)
    assert provider.requests == []


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_an_execution_that_did_not_begin_goes_back_to_the_queue_and_has_all_of_its_attempts(
    provider: Provider, refuse: Refusals, max_attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executing, "AGAIN_S", 0.05)
    provided_model(provider)
    make_program()
    user = make_user(credits=10)
    execution = execute_program(actor=user, program="answering", input={"question": "Why?"}, mode=Mode.ASYNC)
    Execution.objects.filter(pk=execution.pk).update(max_attempts=max_attempts)
    process.stop_thread()
    refused = refuse(2)

    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()
    eventually(lambda: state_of(execution) not in ("pending", "running"))

    row = Execution.objects.get(pk=execution.pk)
    assert len(refused) == 2
    assert (row.state, row.error_code, row.attempt) == ("completed", "", 1)
    assert len(provider.requests) == 1
    assert proven_balance(user) == 10_000_000 - row.credits_used < 10_000_000


def test_one_that_is_cancelled_before_it_began_has_cost_nothing(
    provider: Provider, refuse: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executing, "AGAIN_S", 0.5)
    provided_model(provider)
    make_program()
    user = make_user(credits=10)
    execution = execute_program(actor=user, program="answering", input={"question": "Why?"}, mode=Mode.ASYNC)
    process.stop_thread()
    refuse(1000)

    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()
    eventually(lambda: state_of(execution) == "running")
    cancel_execution(actor=user, execution=execution)
    eventually(lambda: state_of(execution) == "cancelled")

    row = Execution.objects.get(pk=execution.pk)
    assert (row.cost, row.credits_used, row.attempt) == (0, 0, 0)
    assert provider.requests == []
    assert proven_balance(user) == 10_000_000
