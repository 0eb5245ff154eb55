"""What is held back for an execution: limits where there are any, the program's past where there are none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from executions.models import Execution
from executions.services import planning, reserving
from executions.services.execute import execute_program
from executions.services.planning import Plan
from executions.services.reserving import (
    ASCII_PER_TOKEN,
    DEFAULT_MAX_TOKENS,
    FEWEST,
    LATEST,
    Estimate,
    Expected,
    Past,
    most_tokens,
)
from mlops.errors import InsufficientCredits
from mlops.models import User
from mlops.selectors import proven_balance
from mlops.services.credits import credits_for
from mlops.types import Price
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.provider import Provider

CREDIT = 10**6
CHEAP = Price("cheap", input=100, cached_input=10, output=1_000)
DEAR = Price("dear", input=300, cached_input=30, output=500)


@pytest.fixture(autouse=True)
def _no_past() -> None:
    reserving._pasts.forget()
    planning.forget()


def estimate(**fields: Any) -> Estimate:
    return Estimate(
        **{"prices": (CHEAP,), "prompt_characters": 30, "prompt_tokens": 10, "max_tokens": 50, "is_bound": True,
           "calls": 1, **fields}
    )  # fmt: skip


# Tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("abc", 1),
        ("abcd", 2),
        ("größe", 2 * 2 + 1),  # two letters of two bytes each, three of one
        ("日本語", 9),
        ("\N{GRINNING FACE}", 4),
        ("မြန်မာ", len("မြန်မာ".encode())),
    ],
)
def test_what_a_text_may_be_in_tokens(text: str, tokens: int) -> None:
    assert most_tokens(text.encode()) == tokens


# What is expected


def test_limits_are_the_bound_and_the_past_does_not_lower_it() -> None:
    expected = Expected((estimate(), estimate(max_tokens=7)), Past(cost=1, cost_of_answers=1))

    assert expected.cost(b"x" * 30) == 2 * 20 * 100 + (50 + 7) * 1_000


def test_without_a_limit_the_past_tells_and_a_longer_input_costs_more() -> None:
    past = Past(cost=30_000, cost_of_answers=20_000)
    expected = Expected((estimate(is_bound=False, max_tokens=DEFAULT_MAX_TOKENS),), past)

    assert expected.cost(b"") == 45_000
    assert expected.cost(b"x" * 300 * ASCII_PER_TOKEN) == (310 * 100 + 20_000) * 3 // 2


def test_without_a_limit_and_without_a_past_the_constant_tells() -> None:
    expected = Expected((estimate(is_bound=False, max_tokens=DEFAULT_MAX_TOKENS),), None)

    assert expected.cost(b"") == 10 * 100 + DEFAULT_MAX_TOKENS * 1_000


def test_of_an_agent_with_limits_no_more_than_they_allow_is_held_back() -> None:
    agent = estimate(calls=3)
    allowed = agent.cost(0)

    assert allowed == (3 * 10 + 50 * 3) * 100 + 150 * 1_000
    assert Expected((agent,), None).cost(b"") == allowed
    assert Expected((agent,), Past(cost=1_000, cost_of_answers=10)).cost(b"") == 1_515
    assert Expected((agent,), Past(cost=10 * allowed, cost_of_answers=0)).cost(b"") == allowed


def test_a_fallback_may_be_the_one_that_answers() -> None:
    one = estimate(prices=(CHEAP, DEAR))

    assert one.cost(0) == 10 * 100 + 50 * 1_000
    assert one.cost(1_000) == 1_010 * 300 + 50 * 500


# From executions


def plan_of(name: str = "answering") -> Plan:
    planning.forget()
    return planning.plan(name, "", None)


def run(user: User, question: str = "Why?") -> Execution:
    return execute_program(actor=user, program="answering", input={"question": question})


@pytest.mark.django_db(transaction=True)
def test_the_past_is_read_when_there_is_enough_of_it(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    user = make_user("ml_engineer")
    for _ in range(FEWEST - 1):
        run(user)
    reserving._pasts.forget()
    assert plan_of().expected.past is None

    dearest = max([run(user, "Why? " * length) for length in (1, 50)], key=lambda row: row.total_tokens)
    reserving._pasts.forget()
    past = plan_of().expected.past

    assert dearest.cost is not None
    assert past is not None
    assert past.cost == dearest.cost > past.cost_of_answers > 0
    held_back = run(user).credits_reserved
    assert credits_for(past.cost) <= held_back < credits_for(DEFAULT_MAX_TOKENS * 1_600_000)


@pytest.mark.django_db(transaction=True)
def test_the_past_of_other_models_says_nothing(provider: Provider) -> None:
    first = provided_model(provider)
    make_program()
    user = make_user("ml_engineer")
    for _ in range(FEWEST):
        run(user)
    other = provided_model(provider, is_default=False)
    type(first).objects.filter(pk=first.pk).update(is_default=False)
    type(first).objects.filter(pk=other.pk).update(is_default=True)
    reserving._pasts.forget()

    assert plan_of().expected.past is None


@pytest.mark.django_db(transaction=True)
def test_the_past_is_one_indexed_query_and_none_per_execution(
    provider: Provider, django_assert_num_queries: Any
) -> None:
    provided_model(provider)
    make_program()
    plan = plan_of()

    with django_assert_num_queries(1) as asked:
        reserving._pasts.forget()
        for _ in range(3):
            reserving.past_of(plan.program.pk, None, plan.models)
            plan.reservation_for(b"{}")

    assert f"LIMIT {LATEST}" in asked[0]["sql"]


# Beyond the cap


@pytest.mark.django_db(transaction=True)
def test_spending_passes_the_cap_by_what_executions_in_flight_used_beyond_their_reservations_and_no_further(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executions that use several times what was held back for each of them."""
    provided_model(provider, price={"input_price": 0, "output_price": 10**9})
    make_program()
    user = make_user(credits=10)
    monkeypatch.setattr(Plan, "reservation_for", lambda _plan, _input: 3 * CREDIT)
    provider.latency_s = 0.5

    with ThreadPoolExecutor(5) as pool:
        outcomes = list(pool.map(lambda _: _outcome(user), range(5)))

    rows = [outcome for outcome in outcomes if isinstance(outcome, Execution)]
    beyond = sum(row.credits_used - row.credits_reserved for row in rows)
    user.refresh_from_db()
    assert len(rows) == 3  # three reservations of 3 out of 10
    assert user.ml_credits == proven_balance(user) == CREDIT - beyond < 0
    assert not isinstance(_outcome(user), Execution)  # from now on nothing starts
    assert user.executions.count() == 3


def _outcome(user: User) -> Execution | Exception:
    try:
        return run(user)
    except InsufficientCredits as refusal:
        return refusal
