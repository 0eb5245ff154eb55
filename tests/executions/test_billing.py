"""Executions cost what was billed for them, whatever the number of attempts; what asked nobody costs nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from executions.models import Execution
from executions.services import planning, process
from executions.services.cancel import cancel_execution
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess, executing
from executions.types import Mode
from mlops.errors import InsufficientCredits
from mlops.models import BudgetPeriod
from mlops.money import as_decimal
from mlops.selectors import proven_balance
from mlops.services.credits import credits_for, credits_owed
from mlops.types import PICO_PER_USD, Role
from tests.conftest import api_of
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.mlops.budgets.making import make_budget
from tests.provider import Provider, hang, text, usage

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_an_attempt_was_billed_before_it_was_handed_back_is_counted_once(
    provider: Provider, worker: ExecutionProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = provided_model(provider, timeout_s=60, deadline_s=60)
    make_program()
    monkeypatch.setattr(executing, "DRAIN_S", 0.1)
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


# What nobody knows the cost of


def limited_price(**fields: Any) -> dict[str, Any]:
    """A price that holds for requests of at most 1,000 tokens."""
    return {"input_limit": 1_000, **fields}


def asked_twice(provider: Provider, second: Any) -> Execution:
    """An execution whose first answer has none of the fields, so that DSPy asks once more."""
    provider.script(text("none of the fields"), second)
    return execute_program(actor=make_user(credits=10), program="answering", input={"question": "?"})


def test_one_request_of_unknown_cost_does_not_make_the_others_free(provider: Provider) -> None:
    model = provided_model(provider, price=limited_price())
    make_program()
    execution = asked_twice(provider, usage(1_001, 10))

    row = Execution.objects.get(pk=execution.pk)
    first, price = provider.billed[0], model.prices.get().as_price()
    known = first["prompt_tokens"] * price.input + first["completion_tokens"] * price.output
    assert (row.state, row.cost, row.token_usage["requests"]) == ("completed", None, 2)
    lines = row.token_usage["by_model"][model.name]
    assert (lines["cost"], lines["known_cost"]) == (None, known)
    assert row.credits_reserved > credits_for(known) > 0
    assert row.credits_used == row.credits_reserved, "an upper estimate stands in for what nobody knows"
    assert proven_balance(row.user) == 10_000_000 - row.credits_used
    told = api_of(row.user).get(f"/api/v1/executions/{row.pk}/").json()
    assert told["cost_usd"] is None
    by_model = told["token_usage"]["by_model"][model.name]
    assert (by_model["cost_usd"], by_model["known_cost_usd"]) == (None, as_decimal(known, PICO_PER_USD))


def test_what_is_known_is_charged_where_it_is_more_than_was_reserved() -> None:
    known = credits_for(PICO_PER_USD)
    assert credits_owed(known_cost=PICO_PER_USD, is_unpriced=True, reserved=known - 1) == known
    assert credits_owed(known_cost=PICO_PER_USD, is_unpriced=True, reserved=known + 1) == known + 1
    assert credits_owed(known_cost=PICO_PER_USD, is_unpriced=False, reserved=known + 1) == known


def test_budgets_count_what_was_reserved_for_what_nobody_knows(provider: Provider) -> None:
    model, user = provided_model(provider, price=limited_price()), make_user(credits=10)
    make_program()
    make_budget()
    make_budget(scope="language_model", language_model=model)
    reserved = planning.plan("answering", "", None).charged(user.pk, orjson.dumps({"question": "?"}))
    provider.script(usage(1_001, 10))
    execution = execute_program(actor=user, program="answering", input={"question": "?"})
    process.stop_thread()
    assert execution.cost is None
    assert reserved.cost > 0
    assert set(BudgetPeriod.objects.values_list("spent", "allocated", "unpriced")) == {
        (reserved.cost, reserved.cost, 1)
    }


def test_a_limited_account_is_refused_what_no_price_may_hold_for(provider: Provider) -> None:
    provided_model(provider, price=limited_price())
    make_program()
    user, long = make_user(credits=10), {"question": "x" * 3_000}
    with pytest.raises(InsufficientCredits) as refusal:
        execute_program(actor=user, program="answering", input=long)
    assert refusal.value.code == "price_unknown"
    assert provider.requests == []
    assert not Execution.objects.exists()
    assert proven_balance(user) == 10_000_000

    engineer = make_user(Role.ML_ENGINEER.value)
    assert execute_program(actor=engineer, program="answering", input=long).state == "completed"


def test_a_program_with_credits_of_its_own_takes_any_length(provider: Provider) -> None:
    provided_model(provider, price=limited_price())
    make_program(credits_per_execution=7)
    execution = execute_program(actor=make_user(credits=10), program="answering", input={"question": "x" * 3_000})
    assert (execution.state, execution.credits_used) == ("completed", 7)
