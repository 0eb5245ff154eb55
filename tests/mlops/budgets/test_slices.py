"""Slices: what processes hold of a budget, whatever they do and in whatever order."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from mlops.models import Budget, BudgetPeriod, BudgetSlice
from mlops.services.budgets.slices import SHARE, Claim, exchange, sweep_slices
from tests.mlops.budgets.making import make_budget

DAY = date(2026, 7, 31)
amounts = st.integers(min_value=0, max_value=10**18)


def claim(**fields: int | bool) -> Claim:
    return Claim(uuid.uuid4(), uuid.uuid4(), DAY, "test", **{"used": 0, "reserved": 0, **fields})  # type: ignore[arg-type]


@given(used=amounts, reserved=amounts, needed=amounts, spare=amounts, room=st.integers(-(10**18), 10**18))
def test_a_slice_covers_what_is_needed_wherever_there_is_room(
    used: int, reserved: int, needed: int, spare: int, room: int
) -> None:
    size, is_covered = claim(used=used, reserved=reserved, needed=needed, spare=spare).size_within(room)
    floor = used + reserved
    assert is_covered == (needed == 0 or floor + needed <= room)
    assert size >= floor + (needed if is_covered else 0)
    beyond = size - floor - (needed if is_covered else 0)
    assert 0 <= beyond <= max((room - floor - needed) // SHARE, 0)
    assert beyond <= spare


@dataclass
class Holder:
    """A process as the database knows it: what it says is what it really did."""

    budget: Budget
    slice_id: uuid.UUID = field(default_factory=uuid.uuid4)
    size: int = 0
    used: int = 0
    reserved: int = 0
    is_known: bool = False

    def ask(self, needed: int = 0, spare: int = 0, *, is_last: bool = False, times: int = 1) -> bool:
        asked = Claim(
            self.slice_id,
            self.budget.pk,
            DAY,
            "test",
            self.used,
            self.reserved,
            0,
            needed,
            spare,
            self.is_known,
            is_last,
        )
        for _ in range(times):
            granted = exchange(asked)
        assert granted is not None
        self.size, self.is_known = granted.size, True
        return granted.is_covered


def period_of(budget: Budget) -> BudgetPeriod:
    return BudgetPeriod.objects.get(budget=budget, starts_on=DAY)


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(8))
def test_whatever_processes_do_no_more_is_allocated_than_the_limit(seed: int) -> None:
    """Nobody spends more than was reserved here, so that the limit holds to the pico-dollar."""
    random, limit = Random(seed), 10_000
    budget = make_budget(limit=limit)
    holders = [Holder(budget) for _ in range(4)]
    refused = 0
    for _ in range(150):
        holder = random.choice(holders)
        needed = random.randrange(1, 400)
        if holder.ask(needed, random.randrange(2000), times=random.choice([1, 2])):
            holder.reserved += needed
        else:
            refused += 1
            others = sum(other.size for other in holders if other is not holder)
            spent_by_gone = limit - sum(other.size for other in holders)
            assert others + holder.used + holder.reserved + needed > limit or spent_by_gone < needed
        settled = random.randrange(holder.reserved + 1)
        holder.reserved -= settled
        holder.used += random.randrange(settled + 1)
        period = period_of(budget)
        assert period.allocated == sum(other.size for other in holders) <= limit
        assert period.allocated == sum(BudgetSlice.objects.values_list("size", flat=True))
    assert refused
    for holder in holders:
        holder.reserved = 0
        holder.ask(is_last=True, times=random.choice([1, 2]))
    period = period_of(budget)
    assert period.spent == period.allocated == sum(holder.used for holder in holders) <= limit
    assert not BudgetSlice.objects.exists()


@pytest.mark.django_db
def test_a_cost_above_its_reservation_is_counted_in_full_and_nothing_more_is_granted() -> None:
    budget = make_budget(limit=1000)
    holder = Holder(budget)
    assert holder.ask(900)
    holder.used = 1300
    assert not holder.ask(1)
    period = period_of(budget)
    assert (period.spent, period.allocated) == (1300, 1300)
    assert period.blocked_at is not None


@pytest.mark.django_db
def test_the_last_pico_dollar_is_granted_and_the_next_is_not() -> None:
    budget = make_budget(limit=1000)
    first, second, third = Holder(budget), Holder(budget), Holder(budget)
    assert first.ask(600, spare=10_000)
    assert first.size == 600 + 400 // SHARE
    first.reserved = 600
    assert second.ask(1000 - first.size)
    second.reserved = second.size
    assert second.ask()
    assert not third.ask(1)
    assert period_of(budget).blocked_at is None, "the first one holds what it may not need"
    first.ask()
    assert third.ask(50)
    third.reserved = 50
    assert not third.ask(1)
    assert period_of(budget).blocked_at is not None


@pytest.mark.django_db
def test_an_exchange_whose_answer_was_lost_counts_nothing_twice() -> None:
    budget = make_budget(limit=1000)
    holder = Holder(budget)
    holder.ask(500, times=3)
    holder.used, holder.reserved = 300, 100
    holder.ask(times=3)
    period = period_of(budget)
    assert (period.spent, period.allocated) == (300, 400)
    holder.reserved = 0
    holder.ask(is_last=True, times=3)
    period = period_of(budget)
    assert (period.spent, period.allocated) == (300, 300)


def expire(holder: Holder) -> None:
    BudgetSlice.objects.filter(pk=holder.slice_id).update(expires_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.django_db
def test_what_a_lost_process_had_used_and_reserved_counts_and_the_rest_is_free_again() -> None:
    budget = make_budget(limit=1000)
    lost, other = Holder(budget), Holder(budget)
    lost.ask(100, spare=800)
    lost.used, lost.reserved = 30, 50
    lost.ask(spare=800)
    assert lost.size > 80
    expire(lost)
    assert sweep_slices() == 1
    assert sweep_slices() == 0
    period = period_of(budget)
    assert (period.spent, period.in_doubt, period.allocated) == (30, 50, 80)
    assert other.ask(920)
    assert not other.ask(921)


@pytest.mark.django_db
def test_a_process_that_was_taken_for_lost_tells_the_truth_when_it_comes_back() -> None:
    budget = make_budget(limit=1000)
    holder = Holder(budget)
    holder.ask(100)
    holder.used, holder.reserved = 10, 60
    holder.ask()
    expire(holder)
    sweep_slices()
    holder.used, holder.reserved = 90, 0
    holder.ask(is_last=True)
    period = period_of(budget)
    assert (period.spent, period.in_doubt, period.allocated) == (90, 0, 90)


@pytest.mark.django_db
def test_a_slice_that_is_told_of_in_time_is_not_swept() -> None:
    holder = Holder(make_budget(limit=1000))
    holder.ask(100)
    assert sweep_slices() == 0
    assert BudgetSlice.objects.get().size == 100


@pytest.mark.django_db
def test_a_raised_limit_grants_at_once_and_a_lowered_one_takes_back_what_is_free() -> None:
    budget = make_budget(limit=100)
    holder = Holder(budget)
    assert not holder.ask(150)
    Budget.objects.filter(pk=budget.pk).update(limit=200)
    assert holder.ask(150, spare=50)
    holder.used, holder.reserved = 20, 30
    Budget.objects.filter(pk=budget.pk).update(limit=40)
    assert not holder.ask(1, spare=50)
    assert (holder.size, period_of(budget).allocated) == (50, 50)


@pytest.mark.django_db
def test_a_limit_of_zero_grants_nothing() -> None:
    assert not Holder(make_budget(limit=0)).ask(1)


@pytest.mark.django_db
def test_a_budget_that_is_gone_grants_nothing_and_keeps_nothing() -> None:
    budget = make_budget(limit=100)
    asked = replace(claim(needed=1), budget_id=budget.pk)
    budget.delete()
    assert exchange(asked) is None
    assert not BudgetPeriod.objects.exists()
