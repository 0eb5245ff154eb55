"""Many writers, each with a connection of its own, move the credits of a few users at once. PostgreSQL.

A program of its own, `python -m tests.executions.ledger_load`, since the tests themselves may run on another database:
see `test_ledger_under_load`.
"""

from __future__ import annotations

import asyncio
import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import django
from django.db import connection, transaction
from django.db.models import Count, Q, Sum
from django.utils import timezone

if __name__ == "__main__":
    django.setup()

from executions.models import Execution
from executions.services import leases
from executions.services import writer as writer_module
from executions.services.cancel import cancel_execution
from executions.services.writer import Finish, GroupWriter, Job, Start
from executions.types import RunError
from mlops.errors import InsufficientCredits
from mlops.models import CreditEntry, IdempotencyRecord, User
from mlops.selectors import proven_balance, unproven_balances
from mlops.services.credits import grant_credits
from mlops.services.history import operator
from programs.models import PromptSet
from tests.executions.rows import make_prompt_set, new_execution, result, started
from tests.executions.test_writer import record
from tests.factories import make_user
from tests.installation import eventually

CREDIT = 10**6
WRITERS = 32
PER_WRITER = 1000
KEYS = 1000
"""Idempotency keys per user that all writers choose from: some are spent by the time."""


@contextmanager
def watching(users: Sequence[User]) -> Iterator[list[int]]:
    """Balances below zero that were seen meanwhile."""
    seen: list[int] = []
    done = threading.Event()
    limited = [user.pk for user in users]

    def look() -> None:
        while not done.wait(0.005):
            below = User.objects.filter(pk__in=limited, ml_credits__lt=0)
            seen.extend(below.values_list("ml_credits", flat=True))
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


async def started_writers(count: int) -> list[GroupWriter]:
    writers = [GroupWriter() for _ in range(count)]
    for writer in writers:
        writer.start()
    return writers


def a_thousand_at_a_cap() -> None:
    """As many are admitted as the cap reaches for, and none is refused that would have fitted."""
    user, prompt_set = make_user(credits=1), make_prompt_set("capped")
    draw = random.Random(4)
    sizes = [draw.choice((700, 3_000, 11_000)) for _ in range(1000)]
    executions = [started(new_execution(user, prompt_set, credits_reserved=size)) for size in sizes]

    async def all_at_once() -> list[Any]:
        writers = await started_writers(WRITERS)
        jobs = [writers[n % WRITERS].store(Start(one, is_limited=True)) for n, one in enumerate(executions)]
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.gather(*(writer.stop() for writer in writers))
        return outcomes

    before = deadlocks()
    with watching([user]) as below_zero:
        outcomes = asyncio.run(all_at_once())

    user.refresh_from_db()
    refused = [size for size, outcome in zip(sizes, outcomes, strict=True) if outcome is not True]
    assert all(isinstance(outcome, InsufficientCredits) for outcome in outcomes if outcome is not True)
    assert 0 <= user.ml_credits < min(refused)  # none that would have fitted was refused
    assert user.ml_credits == CREDIT - (sum(sizes) - sum(refused)) == proven_balance(user)
    assert Execution.objects.filter(user=user).count() == 1000 - len(refused)
    assert (below_zero, deadlocks()) == ([], before)


def two_that_could_wait_in_a_circle() -> None:
    """One writer starts for a limited account and an engineer whose key comes first, another one ends for the engineer
    and starts for the limited account; the first is held up in between, by a key that somebody else is spending."""
    engineer, limited, prompt_set = make_user("ml_engineer"), make_user(credits=1), make_prompt_set("circle")
    assert engineer.pk < limited.pk

    def execution(user: User) -> Execution:
        return started(new_execution(user, prompt_set, credits_reserved=1000))

    ending, of_engineer, others = execution(engineer), execution(engineer), execution(engineer)
    assert writer_module._commit([Start(ending, is_limited=False)], is_repeated=False) == [True]
    ending.complete(result())
    first: list[Job] = [
        Start(execution(limited), is_limited=True),
        Start(of_engineer, is_limited=False, idempotency=record(engineer, of_engineer, "contested")),
    ]
    second: list[Job] = [Finish(ending), Start(execution(limited), is_limited=True)]
    outcomes: dict[str, Any] = {}

    def commit(name: str, jobs: list[Job]) -> None:
        try:
            outcomes[name] = writer_module._commit(jobs, is_repeated=False)
        except Exception as error:
            outcomes[name] = error
        connection.close()

    threads = [threading.Thread(target=commit, args=pair) for pair in (("first", first), ("second", second))]
    with suppress(NeverMind), transaction.atomic():
        record(engineer, others, "contested").save(force_insert=True)
        for number, thread in enumerate(threads, start=1):
            thread.start()
            eventually(lambda expected=number: waiting_for_locks() == expected)  # type: ignore[misc]
        raise NeverMind
    for thread in threads:
        thread.join()

    assert outcomes == {"first": [True, True], "second": [True, True]}
    assert IdempotencyRecord.objects.get(key="contested").subject_id == of_engineer.pk
    for user in (engineer, limited):
        user.refresh_from_db()
        assert user.ml_credits == proven_balance(user)


class NeverMind(Exception):
    """Rolls a transaction back."""


def waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # within a transaction it would go on saying the same
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


class Load:
    """What one of the writers does: starts, ends of every kind, and what nobody ends."""

    def __init__(self, number: int, users: Sequence[User], prompt_set: PromptSet) -> None:
        self.draw = random.Random(number)
        self.users = users
        self.prompt_set = prompt_set
        self.writer = GroupWriter()
        self.outcomes: Counter[str] = Counter()

    async def work(self) -> None:
        self.writer.start()
        room = asyncio.Semaphore(100)
        await asyncio.gather(*(self._one(room) for _ in range(PER_WRITER)))
        await self.writer.stop()

    async def _one(self, room: asyncio.Semaphore) -> None:
        async with room:
            user = self.draw.choice(self.users)
            execution = new_execution(user, self.prompt_set, credits_reserved=self.draw.randint(0, 40_000))
            is_queued = self.draw.random() < 0.1
            if not is_queued:
                started(execution)
            key = record(user, execution, str(self.draw.randint(0, KEYS))) if self.draw.random() < 0.3 else None
            try:
                if not await self.writer.store(Start(execution, user.is_stopped_by_credits, key)):
                    assert key is not None
                    self.outcomes["spent"] += 1
                    return
            except InsufficientCredits:
                self.outcomes["refused"] += 1
                return
            if not is_queued:
                await self._end(execution)

    async def _end(self, execution: Execution) -> None:
        ending = self.draw.choices(("complete", "fail", "cancel", "lose", "late"), (70, 10, 10, 5, 5))[0]
        self.outcomes[ending] += 1
        if ending == "lose":
            return
        used = self.draw.randint(0, execution.credits_reserved)
        if ending == "complete":
            execution.complete(result())
        elif ending == "cancel":
            execution.cancel(result())
        else:
            execution.fail(RunError("timeout", "Too slow."), result())
        execution.credits_used = used
        if ending == "late":
            execution.lease_token = uuid.uuid4()  # somebody else holds it now
        is_mine = await self.writer.store(Finish(execution))
        assert is_mine is (ending != "late")
        if self.draw.random() < 0.1:
            assert await self.writer.store(Finish(execution)) is is_mine  # repeated: charged once all the same


def disturb(users: Sequence[User], done: threading.Event) -> None:
    """What goes on beside: people are given credits, what waits is cancelled, leases are renewed and swept."""
    number = 0
    while not done.is_set():
        number += 1
        grant_credits(actor=operator(), user=users[number % len(users)], amount=1 + number, key=f"beside:{number}")
        for row in Execution.objects.filter(state="pending").order_by("?")[:3]:
            cancel_execution(actor=row.user, execution=row)
        running = dict(Execution.objects.filter(state="running").values_list("pk", "lease_token")[:200])
        leases.renew(running, timezone.now() + timedelta(minutes=1))
        lost = list(Execution.objects.filter(state="running").order_by("?").values_list("pk", flat=True)[:3])
        Execution.objects.filter(pk__in=lost, state="running").update(attempt=3)
        done.wait(0.02)
    connection.close()


def many_connections() -> None:
    """Executions of several users end in every way, while leases are swept and people are given credits."""
    prompt_set = make_prompt_set()
    first = make_user("ml_engineer")  # accounts are locked in the order of their keys: unlimited ones on both ends
    limited = [make_user(credits=3) for _ in range(5)] + [make_user("ml_engineer", credits=2, has_hard_limit=True)]
    users = [first, *limited, make_user("ml_engineer")]
    loads = [Load(number, users, prompt_set) for number in range(WRITERS)]
    before, done = deadlocks(), threading.Event()
    beside = threading.Thread(target=disturb, args=(users, done))

    async def all_of_them() -> None:
        await asyncio.gather(*(load.work() for load in loads))

    beside.start()
    with watching(limited) as below_zero:
        asyncio.run(all_of_them())
        done.set()
        beside.join()
        end_what_is_left()

    outcomes = sum((load.outcomes for load in loads), Counter())
    assert min(outcomes[kind] for kind in ("refused", "spent", "complete", "fail", "cancel", "lose", "late")) > 50
    assert (below_zero, deadlocks()) == ([], before)
    assert list(unproven_balances()) == []
    assert_ledger_says_what_the_rows_say(users)


def end_what_is_left() -> None:
    """As after the leases of lost processes have expired for the last time."""
    Execution.objects.filter(state="running").update(attempt=3, lease_expires_at=timezone.now() - timedelta(seconds=1))
    while sum(leases.sweep().values()):
        pass
    for row in Execution.objects.filter(state="pending"):
        cancel_execution(actor=row.user, execution=row)


def assert_ledger_says_what_the_rows_say(users: Sequence[User]) -> None:
    lines = CreditEntry.objects.exclude(kind="grant")
    executions = Execution.objects.order_by()
    assert not executions.exclude(state__in=("completed", "failed", "cancelled")).exists()
    for user in users:
        used = executions.filter(user=user).aggregate(total=Sum("credits_used"))["total"]
        assert lines.filter(user=user).aggregate(total=Sum("amount"))["total"] == -used
    per_execution = lines.values("subject_id").annotate(
        reserved=Count("pk", filter=Q(kind="reserve")), ended=Count("pk", filter=~Q(kind="reserve"))
    )
    assert not per_execution.exclude(reserved=1, ended=1).exists()
    assert per_execution.count() == executions.filter(credits_reserved__gt=0).count()


if __name__ == "__main__":
    two_that_could_wait_in_a_circle()
    a_thousand_at_a_cap()
    many_connections()
