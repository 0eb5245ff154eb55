"""The clock of a host is set forward or back while executions run: nothing is charged twice, nothing is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from executions.models import Execution
from executions.services import leases
from executions.services import writer as writer_module
from executions.services.writer import Finish, Start
from mlops.models import CreditEntry, IdempotencyRecord, User
from mlops.selectors import proven_balance
from mlops.services.idempotency import forget_expired_keys
from tests.executions.rows import make_prompt_set, new_execution, result, started
from tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
CREDIT = 10**6
SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Set the clock forward by so much, or back."""
    now = timezone.now

    def by(difference: timedelta) -> None:
        monkeypatch.setattr(timezone, "now", lambda: now() + difference)

    return by


def running(user: User) -> Execution:
    execution = started(new_execution(user, make_prompt_set(), credits_reserved=CREDIT))
    assert writer_module._stored([Start(execution, is_limited=True)]) == [True]
    return execution


def finish(execution: Execution, used: int) -> object:
    execution.complete(result())
    execution.credits_used = used
    return writer_module._stored([Finish(execution)])[0]


def charged(user: User) -> list[tuple[str, int]]:
    user.refresh_from_db()
    assert user.ml_credits == proven_balance(user)
    return list(CreditEntry.objects.exclude(kind="grant").order_by("pk").values_list("kind", "used"))


def test_set_forward_a_lease_ends_early_and_the_first_attempt_comes_too_late(set_clock: SetClock) -> None:
    user = make_user(credits=10)
    first = running(user)
    set_clock(DAY)

    assert leases.sweep() == {"handed_back": 1, "ended": 0}
    lease_end = timezone.now() + timedelta(seconds=30)
    second = leases.claim(1, lease_token=uuid.uuid4(), lease_expires_at=lease_end, leased_by="second")[0]
    assert finish(first, used=5) is False
    set_clock(timedelta())
    assert finish(second, used=7) is True

    assert charged(user) == [("reserve", 0), ("settle", 7)]
    assert Execution.objects.get().attempt == 2


def test_set_back_a_lease_lasts_longer_and_the_end_is_stored(set_clock: SetClock) -> None:
    user = make_user(credits=10)
    execution = running(user)
    set_clock(-DAY)

    assert leases.sweep() == {"handed_back": 0, "ended": 0}
    assert finish(execution, used=5) is True

    row = Execution.objects.get()
    assert row.finished_at is not None
    assert row.finished_at < row.created_at  # as the clock said
    assert charged(user) == [("reserve", 0), ("settle", 5)]


def test_set_back_after_a_crash_the_execution_is_found_when_the_clock_gets_there(set_clock: SetClock) -> None:
    user = make_user(credits=10)
    running(user)
    set_clock(-DAY)
    assert leases.sweep() == {"handed_back": 0, "ended": 0}

    set_clock(timedelta(minutes=1))

    Execution.objects.update(attempt=3)
    assert leases.sweep() == {"handed_back": 0, "ended": 1}
    assert charged(user) == [("reserve", 0), ("release", 0)]


def test_a_repeated_end_is_known_whatever_the_clock_says_by_then(set_clock: SetClock) -> None:
    user = make_user(credits=10)
    execution = running(user)
    assert finish(execution, used=5) is True
    for difference in (DAY, -DAY):
        set_clock(difference)
        assert writer_module._stored([Finish(execution)]) == [True]

    assert charged(user) == [("reserve", 0), ("settle", 5)]


def test_idempotency_keys_follow_the_clock_both_ways(set_clock: SetClock) -> None:
    user, prompt_set = make_user(), make_prompt_set()

    def spend() -> bool:
        now, execution = timezone.now(), started(new_execution(user, prompt_set))
        times = {"created_at": now, "expires_at": now + DAY}
        record = IdempotencyRecord(user=user, key="k", digest="d", **times, **execution.subject)
        return writer_module._stored([Start(execution, False, record)]) == [True]

    assert [spend(), spend()] == [True, False]
    set_clock(2 * DAY)
    assert [spend(), spend()] == [True, False]
    set_clock(-2 * DAY)
    assert spend() is False
    assert forget_expired_keys() == 0
    set_clock(4 * DAY)
    assert forget_expired_keys() == 1
    assert Execution.objects.count() == 2
