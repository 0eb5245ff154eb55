"""Executions cost what was billed for them, whatever the number of attempts; what asked nobody costs nothing."""

from __future__ import annotations

import pytest

from executions.models import Execution
from executions.services import process
from executions.services.cancel import cancel_execution
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess
from executions.types import Mode
from mlops.services.credits import credits_for
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.provider import Provider, hang, text

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_an_attempt_was_billed_before_it_was_handed_back_is_counted_once(
    provider: Provider, worker: ExecutionProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = provided_model(provider, timeout_s=60, deadline_s=60)
    make_program()
    monkeypatch.setattr(process, "DRAIN_S", 0.1)
    provider.script(text("none of the fields"), hang())  # an answer that is billed, then DSPy asks once more
    execution = execute_program(
        actor=make_user(credits=10), program="answering", input={"question": "?"}, mode=Mode.ASYNC
    )
    eventually(lambda: len(provider.requests) == 2)
    process.stop_thread()

    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.attempt, row.token_usage["requests"]) == ("pending", 1, 1)
    assert row.cost == row.token_usage["by_model"][model.name]["cost"]

    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()
    eventually(lambda: state_of(execution) == "completed")

    row = Execution.objects.get(pk=execution.pk)
    price = model.prices.get().as_price()
    told = list(provider.billed)
    assert (row.attempt, len(told), row.token_usage["requests"]) == (2, 2, 2)
    assert row.token_usage["input"] == sum(one["prompt_tokens"] for one in told)
    assert row.token_usage["output"] == sum(one["completion_tokens"] for one in told)
    assert row.cost == row.token_usage["input"] * price.input + row.token_usage["output"] * price.output
    assert row.prices == [price.id]
    assert row.credits_used == credits_for(row.cost or 0)


def test_what_was_cancelled_before_it_began_costs_nothing(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    user = make_user(credits=10)
    execution = execute_program(actor=user, program="answering", input={"question": "?"}, mode=Mode.ASYNC)
    cancel_execution(actor=user, execution=execution)
    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.cost, row.credits_used) == ("cancelled", 0, 0)
