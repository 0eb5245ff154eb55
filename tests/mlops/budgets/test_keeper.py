"""The budgets of one process: reserved and settled in memory, and what other processes hear of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar
from unittest.mock import patch

import pytest

from mlops.errors import InsufficientCredits
from mlops.models import Budget, BudgetPeriod, BudgetSlice, User
from mlops.services.budgets import BudgetKeeper, Charged, Exhausted, Spent, delete_budget, keeper, update_budget
from mlops.services.database import DatabaseThreads
from mlops.services.history import operator
from tests.factories import make_language_model, make_user
from tests.mlops.budgets.making import make_budget

pytestmark = pytest.mark.django_db(transaction=True)

MODEL = "openai/told"
T = TypeVar("T")


def charged(cost: int, user: User | None = None, program: str = "triage") -> Charged:
    return Charged(user.pk if user else uuid.uuid4(), program, cost, {MODEL: cost})


class CountedThreads(DatabaseThreads):
    """Counts how often the database was asked."""

    asked = 0

    async def run(self, call: Callable[[], T]) -> T:
        self.asked += 1
        return await super().run(call)


def asked_by(own: BudgetKeeper) -> int:
    database = own._database
    assert isinstance(database, CountedThreads)
    return database.asked


def keeping(*work: Callable[..., Awaitable[Any]]) -> list[Any]:
    """Do each `work` with a keeper of its own, all on one loop; every keeper gives back at the end."""

    async def one(call: Callable[..., Awaitable[Any]], number: int) -> Any:
        database = CountedThreads(1)
        own = BudgetKeeper(database, f"process-{number}")
        try:
            return await call(own)
        finally:
            await own.stop()
            await asyncio.to_thread(database.close)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(one(call, number) for number, call in enumerate(work)))

    return asyncio.run(all_of_them())


def spent_of(budget: Budget) -> int:
    return sum(BudgetPeriod.objects.filter(budget=budget).values_list("spent", flat=True))


def test_without_budgets_nothing_is_reserved_and_nothing_is_written() -> None:
    async def work(own: BudgetKeeper) -> None:
        hold = await own.reserve(charged(100))
        assert hold.parts == []
        own.settle(hold, Spent({MODEL: 100}))

    keeping(work)
    assert not BudgetPeriod.objects.exists()


def test_work_counts_to_its_user_program_models_and_the_installation_and_to_nobody_else() -> None:
    user, other = make_user(), make_user()
    model, stand_in = make_language_model(name=MODEL), make_language_model(name="openai/stand-in")
    due = {
        "user": make_budget(scope="user", user=user),
        "month": make_budget(scope="user", user=user, period="month"),
        "program": make_budget(scope="program", program="triage"),
        "model": make_budget(scope="language_model", language_model=model),
        "installation": make_budget(),
    }
    fallback = make_budget(scope="language_model", language_model=stand_in)
    not_due = [make_budget(scope="user", user=other), make_budget(scope="program", program="triage-2")]

    async def work(own: BudgetKeeper) -> None:
        hold = await own.reserve(charged(100, user))
        assert {part.amount for part in hold.parts} == {100}
        own.settle(hold, Spent({MODEL: 70, "openai/stand-in": 5}))

    keeping(work)
    assert {name: spent_of(budget) for name, budget in due.items()} == {
        "user": 75, "month": 75, "program": 75, "model": 70, "installation": 75,
    }  # fmt: skip
    assert spent_of(fallback) == 5
    assert [spent_of(budget) for budget in not_due] == [0, 0]
    assert not BudgetSlice.objects.exists()


def test_a_slice_that_covers_it_asks_the_database_for_nothing() -> None:
    make_budget()

    async def work(own: BudgetKeeper) -> None:
        first = await own.reserve(charged(1000))
        before = asked_by(own)
        own.settle(await own.reserve(charged(1000)), Spent({MODEL: 10}))
        assert asked_by(own) == before
        own.settle(first, Spent({MODEL: 10}))

    keeping(work)


def test_what_was_settled_or_released_once_is_not_counted_again() -> None:
    budget = make_budget()

    async def work(own: BudgetKeeper) -> None:
        hold = await own.reserve(charged(100))
        own.settle(hold, Spent({MODEL: 40}))
        own.settle(hold, Spent({MODEL: 40}))
        own.release(hold)

    keeping(work)
    assert spent_of(budget) == 40


def test_a_refusal_reserves_nothing_anywhere_and_says_which_budget() -> None:
    wide, narrow = make_budget(), make_budget(scope="program", program="triage", limit=99)

    async def work(own: BudgetKeeper) -> None:
        with pytest.raises(Exhausted) as refusal:
            await own.reserve(charged(100))
        assert refusal.value.terms.id == narrow.pk
        assert all(purse.reserved == 0 and purse.holds == 0 for purse in own._purses.values())
        await own.reserve(charged(100, program="another"))

    keeping(work)
    assert BudgetPeriod.objects.get(budget=narrow).blocked_at is not None
    assert BudgetPeriod.objects.get(budget=wide).blocked_at is None


def test_what_costs_nothing_passes_an_exhausted_budget_and_what_nobody_can_price_is_counted() -> None:
    budget = make_budget(limit=0)

    async def work(own: BudgetKeeper) -> None:
        own.settle(await own.reserve(charged(0)), Spent({MODEL: 0}, frozenset({MODEL})))
        own.settle(await own.reserve(charged(0)), Spent({MODEL: 0}))

    keeping(work)
    period = BudgetPeriod.objects.get(budget=budget)
    assert (period.spent, period.unpriced) == (0, 1)


def test_work_that_costs_nothing_writes_nothing() -> None:
    make_budget()

    async def work(own: BudgetKeeper) -> None:
        own.settle(await own.reserve(charged(0)), Spent({MODEL: 0}))

    keeping(work)
    assert not BudgetPeriod.objects.exists()


def test_many_at_once_in_one_process_spend_all_of_it_and_no_more() -> None:
    budget = make_budget(limit=1000)

    async def work(own: BudgetKeeper) -> list[bool]:
        async def once() -> bool:
            try:
                hold = await own.reserve(charged(10))
            except Exhausted:
                return False
            await asyncio.sleep(0)
            own.settle(hold, Spent({MODEL: 10}))
            return True

        return await asyncio.gather(*(once() for _ in range(150)))

    (passed,) = keeping(work)
    assert passed.count(True) == 100
    assert spent_of(budget) == 1000


def test_what_another_process_holds_idly_is_waited_for_and_refused_in_bounded_time_if_it_is_not_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "PATIENCE_S", 2.5)
    budget = make_budget(limit=1000)
    holding, done = asyncio.Event(), asyncio.Event()

    async def sits_on_it(own: BudgetKeeper) -> None:
        hold = await own.reserve(charged(600))
        own.release(hold)
        holding.set()
        await done.wait()

    async def needs_it(own: BudgetKeeper) -> None:
        await holding.wait()
        own.settle(await own.reserve(charged(1000)), Spent({MODEL: 1000}))
        with pytest.raises(Exhausted):
            await own.reserve(charged(1))
        done.set()

    keeping(sits_on_it, needs_it)
    assert spent_of(budget) == 1000


def test_a_limit_that_is_raised_lets_work_through_and_a_disabled_budget_asks_nobody() -> None:
    budget = make_budget(limit=10)

    def change(**fields: Any) -> None:
        update_budget(actor=operator(), budget=budget, fields=fields)

    async def work(own: BudgetKeeper) -> None:
        with pytest.raises(Exhausted):
            await own.reserve(charged(100))
        await asyncio.to_thread(change, limit=100)
        await asyncio.sleep(keeper.AGAIN_S)
        hold = await own.reserve(charged(100))
        await asyncio.to_thread(change, is_enabled=False)
        own.forget()
        free = await own.reserve(charged(10**9))
        assert free.parts == []
        own.settle(hold, Spent({MODEL: 60}))

    keeping(work)
    assert spent_of(budget) == 60, "what was reserved while it was enabled is counted"


def test_a_budget_made_while_work_is_under_way_counts_what_begins_after_it() -> None:
    made: list[Budget] = []

    async def work(own: BudgetKeeper) -> None:
        before = await own.reserve(charged(100))
        made.append(await asyncio.to_thread(make_budget))
        own.forget()
        after = await own.reserve(charged(100))
        own.settle(before, Spent({MODEL: 1}))
        own.settle(after, Spent({MODEL: 2}))

    keeping(work)
    assert spent_of(made[0]) == 2


def test_changes_of_other_processes_are_heard_of_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FRESH_S", 0.05)
    monkeypatch.setattr(keeper, "STALE_S", 0.1)

    async def work(own: BudgetKeeper) -> None:
        assert (await own.reserve(charged(100))).parts == []
        await asyncio.to_thread(make_budget, limit=10)
        await asyncio.sleep(0.11)
        with pytest.raises(Exhausted):
            await own.reserve(charged(100))

    keeping(work)
    assert keeper.STALE_S < 5


def test_a_deleted_budget_does_not_stop_work_that_still_believes_in_it() -> None:
    budget = make_budget()

    async def work(own: BudgetKeeper) -> None:
        await own._present_table()
        await asyncio.to_thread(delete_budget, actor=operator(), budget=budget)
        own._read_at = float("inf")  # has not heard of it
        own.settle(await own.reserve(charged(100)), Spent({MODEL: 100}))

    keeping(work)
    assert not BudgetPeriod.objects.exists()


def at(moment: str) -> Any:
    return patch("django.utils.timezone.now", lambda: datetime.fromisoformat(moment).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("cycle", "before", "after", "days"),
    [
        ("day", "2026-07-31 23:59:59", "2026-08-01 00:00:00", ["2026-07-31", "2026-08-01"]),
        ("month", "2026-01-31 23:59:59", "2026-02-01 00:00:00", ["2026-01-01", "2026-02-01"]),
        ("month", "2026-12-31 23:59:59", "2027-01-01 00:00:00", ["2026-12-01", "2027-01-01"]),
        ("month", "2028-02-28 23:59:59", "2028-02-29 00:00:00", ["2028-02-01"]),
        ("day", "2026-03-01 00:00:00", "2026-02-28 23:59:59", ["2026-02-28", "2026-03-01"]),
    ],
)
def test_work_counts_to_the_period_in_which_it_was_reserved(
    cycle: str, before: str, after: str, days: list[str]
) -> None:
    """The last case is a clock that was put back."""
    budget = make_budget(period=cycle, limit=300)

    async def work(own: BudgetKeeper) -> None:
        with at(before):
            first = await own.reserve(charged(100))
        with at(after):
            second = await own.reserve(charged(100))
        own.settle(second, Spent({MODEL: 20}))
        own.settle(first, Spent({MODEL: 1}))

    keeping(work)
    told = {str(row.starts_on): row.spent for row in BudgetPeriod.objects.filter(budget=budget)}
    first_day, second_day = (before[:10], after[:10]) if cycle == "day" else (before[:8] + "01", after[:8] + "01")
    expected = {first_day: 21} if first_day == second_day else {first_day: 1, second_day: 20}
    assert told == expected
    assert sorted(told) == days


def test_a_used_up_period_is_over_at_midnight_and_the_next_one_is_free() -> None:
    make_budget(limit=100)

    async def work(own: BudgetKeeper) -> None:
        with at("2026-07-31 23:59:59"):
            own.settle(await own.reserve(charged(100)), Spent({MODEL: 100}))
            with pytest.raises(Exhausted) as refusal:
                await own.reserve(charged(1))
            assert refusal.value.told_to(None).extra["resets_at"] == "2026-08-01T00:00:00+00:00"
        with at("2026-08-01 00:00:00"):
            await own.reserve(charged(100))

    keeping(work)


def test_figures_are_told_to_those_who_may_see_the_budget() -> None:
    user = make_user()
    own, everybodys = make_budget(scope="user", user=user, limit=1), make_budget(limit=1)

    async def refusals(of: BudgetKeeper) -> list[Exhausted]:
        found = []
        for who in (charged(2, user), charged(2)):
            with pytest.raises(Exhausted) as refusal:
                await of.reserve(who)
            found.append(refusal.value)
        return found

    ((first, second),) = keeping(refusals)
    told = {str(own.pk): first, str(everybodys.pk): second}
    mine = told[str(first.terms.id)].told_to(user)
    assert isinstance(mine, InsufficientCredits)
    theirs = second.told_to(user).extra
    assert set(theirs) == {"budget", "period", "resets_at"}
    assert second.told_to(make_user("ml_engineer")).extra["limit"] == "0.000000000001"


def test_idle_slices_go_back_while_the_process_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "TICK_S", 0.05)
    monkeypatch.setattr(keeper, "IDLE_S", 0.1)
    budget = make_budget()

    async def work(own: BudgetKeeper) -> None:
        own.settle(await own.reserve(charged(100)), Spent({MODEL: 30}))
        async with asyncio.timeout(10):
            while own._ticking is None or not own._ticking.done():
                await asyncio.sleep(0.02)
        period = await asyncio.to_thread(BudgetPeriod.objects.get, budget=budget)
        assert (period.spent, period.allocated) == (30, 30)
        own.settle(await own.reserve(charged(100)), Spent({MODEL: 7}))

    keeping(work)
    assert spent_of(budget) == 37


def test_a_burst_asks_the_database_a_few_times_not_once_for_each() -> None:
    make_budget()

    async def work(own: BudgetKeeper) -> None:
        holds = await asyncio.gather(*(own.reserve(charged(100)) for _ in range(256)))
        assert asked_by(own) <= 12
        for hold in holds:
            own.release(hold)

    keeping(work)
