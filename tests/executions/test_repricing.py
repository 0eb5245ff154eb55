"""Repricing: the difference is shown first, then made true once; every figure before stays explained."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from executions.models import CostCorrection, Execution, Repricing, RepricingDay, UsageDay
from executions.services.repricing import apply_repricing, cancel_repricing, reprice, work_repricings, working
from executions.services.usage import count_usage, rebuild_usage
from executions.types import ExecutionState
from mlops.errors import Conflict, Forbidden, Invalid, NotFound
from mlops.models import CreditEntry, LanguageModel, ModelPrice, User
from mlops.models.base import first_id_at
from mlops.selectors import proven_balance
from mlops.services import jobs
from mlops.services.credits import credits_for
from mlops.services.language_models import delete_language_model
from mlops.services.prices import add_price
from mlops.types import TokenUsage
from programs.models import PromptSet
from tests.executions.rows import make_prompt_set
from tests.factories import make_language_model, make_user

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
START = (timezone.now() - 10 * DAY).replace(hour=12, minute=0, second=0, microsecond=0)
SINCE, UNTIL = START - DAY, START + 5 * DAY
USAGE = TokenUsage(input=1000, output=100, requests=1, largest_input=1000)


@pytest.fixture
def model() -> LanguageModel:
    return make_language_model(name="openai/m")


@pytest.fixture
def prompt_set() -> PromptSet:
    return make_prompt_set()


def price(admin: User, model: LanguageModel, at: datetime, figure: int, **figures: Any) -> ModelPrice:
    """A row of one price for all lines."""
    row = {"input_price": figure, "cached_input_price": figure, "output_price": figure, **figures}
    return add_price(actor=admin, model=model, valid_from=at, **row)


def ran(
    prompt_set: PromptSet,
    at: datetime,
    by_model: Mapping[str, tuple[TokenUsage, ModelPrice | None]],
    *,
    user: User | None = None,
    state: str = ExecutionState.COMPLETED.value,
    charged: bool = True,
    number: int = 0,
) -> Execution:
    """An execution that began `at`, as the runtime would have stored it."""
    costs = {
        name: row.as_price().of(usage) if row is not None and row.as_price().covers(usage) else None
        for name, (usage, row) in by_model.items()
    }
    cost = None if None in costs.values() else sum(cost for cost in costs.values() if cost is not None)
    whole = sum((usage for usage, _row in by_model.values()), TokenUsage())
    lines = {name: {**usage.as_json(), "cost": costs[name]} for name, (usage, _row) in by_model.items()}
    return Execution.objects.create(
        id=uuid.UUID(int=first_id_at(at).int + number + 1),
        user=user or make_user(),
        program=prompt_set.program,
        prompt_set=prompt_set,
        mode="sync",
        source="rest",
        state=state,
        attempt=1,
        created_at=at,
        started_at=at,
        finished_at=at + timedelta(seconds=1),
        duration_ms=1000.0,
        token_usage={**whole.as_json(), "by_model": lines},
        total_tokens=whole.total,
        cost=cost,
        prices=[str(row.pk) for _usage, row in by_model.values() if row is not None],
        credits_used=credits_for(cost or 0) if charged else 0,
    )


def preview(admin: User, **fields: Any) -> Repricing:
    row = reprice(actor=admin, **{"since": SINCE, "until": UNTIL, **fields})
    return finished(row)


def applied(admin: User, shown: Repricing) -> Repricing:
    return finished(apply_repricing(actor=admin, repricing=shown))


def finished(row: Repricing) -> Repricing:
    assert work_repricings() == 1
    ended: Repricing = Repricing.objects.get(pk=row.pk)
    assert (ended.state, ended.error_code) == ("completed", "")
    return ended


def test_the_difference_is_shown_and_nothing_changes(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    wrong = price(admin, model, START - DAY, 10)
    rows = [ran(prompt_set, START + hours * timedelta(hours=8), {"openai/m": (USAGE, wrong)}) for hours in range(4)]
    before = list(Execution.objects.order_by("pk").values("cost", "prices", "token_usage"))
    price(admin, model, START, 4)

    shown = preview(admin)

    assert (shown.looked_at, shown.changed, shown.priced, shown.unpriced) == (4, 4, 0, 0)
    assert (shown.cost_before, shown.cost_after) == (4 * 11_000, 4 * 4_400)
    assert shown.progress == {"done": 4, "of": 4}
    days = [(row.day, row.language_model, row.executions, row.cost_before, row.cost_after) for row in shown.days.all()]
    first = START.astimezone(UTC).date()
    assert days == [
        (first, "openai/m", 2, 22_000, 8_800),
        (first + DAY, "openai/m", 2, 22_000, 8_800),
    ]
    assert list(Execution.objects.order_by("pk").values("cost", "prices", "token_usage")) == before
    assert not CostCorrection.objects.exists()
    assert rows[0].cost == 11_000


def test_applying_makes_it_true_and_keeps_what_was(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    wrong = price(admin, model, START - DAY, 10)
    execution = ran(prompt_set, START, {"openai/m": (USAGE, wrong)})
    right = price(admin, model, START, 4)
    shown = preview(admin)

    done = applied(admin, shown)

    execution = Execution.objects.get(pk=execution.pk)
    assert (execution.cost, execution.prices) == (4_400, [str(right.pk)])
    assert execution.token_usage["by_model"]["openai/m"] == {**USAGE.as_json(), "cost": 4_400}
    correction = CostCorrection.objects.get(execution=execution, repricing=done)
    assert (correction.cost_before, correction.cost_after, correction.credits_refunded) == (11_000, 4_400, 0)
    assert (correction.prices_before, correction.prices_after) == ([str(wrong.pk)], [str(right.pk)])
    assert (done.cost_before, done.cost_after, done.changed) == (shown.cost_before, shown.cost_after, shown.changed)
    assert done.preview == shown
    assert preview(admin).changed == 0


def test_the_price_is_that_of_the_moment_it_began(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    tick = timedelta(microseconds=1)
    before = ran(prompt_set, START, {"openai/m": (USAGE, None)})
    Execution.objects.filter(pk=before.pk).update(started_at=START - tick)
    after = ran(prompt_set, START, {"openai/m": (USAGE, None)}, number=1)
    price(admin, model, START, 3)

    shown = preview(admin)
    assert (shown.changed, shown.priced, shown.cost_before, shown.cost_after) == (1, 1, 0, 3_300)
    applied(admin, shown)

    before = Execution.objects.get(pk=before.pk)
    after = Execution.objects.get(pk=after.pk)
    assert (before.cost, before.prices, after.cost) == (None, [], 3_300)


def test_a_cost_can_become_unknown(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    execution = ran(prompt_set, START, {"openai/m": (USAGE, price(admin, model, START - DAY, 10))})
    price(admin, model, START, 10, input_limit=999)  # the request was longer than this row knows
    shown = applied(admin, preview(admin))
    execution = Execution.objects.get(pk=execution.pk)
    assert (shown.unpriced, shown.cost_after, execution.cost) == (1, 0, None)
    assert execution.token_usage["by_model"]["openai/m"]["cost"] is None


def test_prices_that_were_entered_after_the_preview_wait(
    admin: User, model: LanguageModel, prompt_set: PromptSet
) -> None:
    execution = ran(prompt_set, START, {"openai/m": (USAGE, None)})
    price(admin, model, START - DAY, 4)
    shown = preview(admin)
    price(admin, model, START, 9)
    applied(admin, shown)
    execution = Execution.objects.get(pk=execution.pk)
    assert execution.cost == 4_400  # what was shown
    assert preview(admin).cost_after == 9_900


def test_one_language_model_leaves_the_others(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    other = make_language_model(name="openai/other")
    own, wrong = price(admin, other, START - DAY, 1), price(admin, model, START - DAY, 10)
    execution = ran(prompt_set, START, {"openai/m": (USAGE, wrong), "openai/other": (USAGE, own)})
    alone = ran(prompt_set, START, {"openai/other": (USAGE, own)}, number=1)
    right = price(admin, model, START, 4)
    price(admin, other, START, 7)

    shown = preview(admin, language_model=model)
    assert (shown.looked_at, shown.changed) == (1, 1)
    assert list(shown.days.values_list("language_model", flat=True)) == ["openai/m"]
    applied(admin, shown)

    execution = Execution.objects.get(pk=execution.pk)
    alone = Execution.objects.get(pk=alone.pk)
    assert (execution.cost, execution.prices) == (4_400 + 1_100, [str(right.pk), str(own.pk)])
    assert alone.cost == 1_100


def test_known_and_unknown_together_are_unknown(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    execution = ran(prompt_set, START, {"openai/m": (USAGE, None), "openai/nobody": (USAGE, None)})
    price(admin, model, START, 4)
    shown = applied(admin, preview(admin))
    execution = Execution.objects.get(pk=execution.pk)
    assert (shown.changed, shown.priced, execution.cost) == (1, 0, None)
    known = {name: lines["cost"] for name, lines in execution.token_usage["by_model"].items()}
    assert known == {"openai/m": 4_400, "openai/nobody": None}
    (day,) = RepricingDay.objects.filter(repricing=shown)
    assert (day.language_model, day.priced, day.cost_after) == ("openai/m", 1, 4_400)


def test_only_the_period_the_program_and_what_has_ended(admin: User, model: LanguageModel) -> None:
    mine, theirs = make_prompt_set("mine"), make_prompt_set("theirs")
    used = {"openai/m": (USAGE, None)}
    inside = ran(mine, START, used)
    ran(theirs, START, used, number=1)
    ran(mine, START, used, number=2, state=ExecutionState.RUNNING.value)
    ran(mine, START - timedelta(milliseconds=1), used)
    ran(mine, START + DAY, used)  # the end is no part of the period
    price(admin, model, START - DAY, 4)

    shown = preview(admin, since=START, until=START + DAY, program="mine")
    applied(admin, shown)

    assert (shown.looked_at, shown.changed) == (1, 1)
    assert list(CostCorrection.objects.values_list("execution", flat=True)) == [inside.pk]


def test_old_rows_without_a_cost_by_model(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    wrong = price(admin, model, START - DAY, 10)
    execution = ran(prompt_set, START, {"openai/m": (USAGE, wrong)})
    del execution.token_usage["by_model"]["openai/m"]["cost"]
    for line in ("cache_write", "requests", "largest_input", "unpriced"):
        del execution.token_usage["by_model"]["openai/m"][line]
    execution.save()
    assert preview(admin).changed == 0
    price(admin, model, START, 4)
    shown = preview(admin)
    assert [(row.cost_before, row.cost_after) for row in shown.days.all()] == [(11_000, 4_400)]


# Usage per day


@pytest.mark.django_db(transaction=True)
def test_usage_per_day_follows(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    wrong = price(admin, model, START - DAY, 10)
    ran(prompt_set, START, {"openai/m": (USAGE, wrong)})
    count_usage()
    ran(prompt_set, START, {"openai/m": (USAGE, wrong)}, number=1)  # not counted yet
    price(admin, model, START, 4)
    applied(admin, preview(admin))
    count_usage()
    assert UsageDay.objects.filter(user=None, language_model="").get().cost == 2 * 4_400
    assert rebuild_usage(check_only=True).different == 0


# Credits


def balances(user: User) -> tuple[int, int]:
    user.refresh_from_db()
    return user.ml_credits, proven_balance(user)


def test_credits_are_left_alone_unless_asked(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    user = make_user(credits=5)
    execution = ran(prompt_set, START, {"openai/m": (USAGE, price(admin, model, START - DAY, 10**6))}, user=user)
    price(admin, model, START, 10**5)
    before = balances(user)
    done = applied(admin, preview(admin))
    assert balances(user) == before
    assert done.credits_overcharged == execution.credits_used - execution.credits_used // 10
    assert CostCorrection.objects.get().credits_refunded == 0


def test_too_much_is_given_back_once_and_too_little_only_told(
    admin: User, model: LanguageModel, prompt_set: PromptSet
) -> None:
    user = make_user(credits=5)
    execution = ran(prompt_set, START, {"openai/m": (USAGE, price(admin, model, START - DAY, 10**6))}, user=user)
    charged, (had, _) = execution.credits_used, balances(user)

    price(admin, model, START, 10**5)
    first = applied(admin, preview(admin, refunds_credits=True))
    given = charged - charged // 10
    assert balances(user) == (had + given, had + given)
    line = CreditEntry.objects.get(kind="refund")
    assert (line.amount, line.subject_id, line.granted_by) == (given, execution.pk, admin)
    assert (first.credits_overcharged, first.credits_undercharged) == (given, 0)
    assert CostCorrection.objects.get().credits_refunded == given

    price(admin, model, START + timedelta(microseconds=1), 10**5)  # of no effect on what began before
    assert preview(admin, refunds_credits=True).changed == 0

    dearer = price(admin, model, START - timedelta(hours=1), 10**6)
    Execution.objects.filter(pk=execution.pk).update(started_at=START - timedelta(minutes=1))
    up = applied(admin, preview(admin, refunds_credits=True))
    assert (up.credits_overcharged, up.credits_undercharged) == (0, given)
    assert dearer.pk is not None
    assert balances(user) == (had + given, had + given)  # nobody pays more afterwards

    Execution.objects.filter(pk=execution.pk).update(started_at=START)
    down = applied(admin, preview(admin, refunds_credits=True))
    assert down.credits_overcharged == 0  # it was given back before
    assert balances(user) == (had + given, had + given)


def test_a_program_with_credits_of_its_own_is_not_refunded(
    admin: User, model: LanguageModel, prompt_set: PromptSet
) -> None:
    prompt_set.program.credits_per_execution = 7
    prompt_set.program.save()
    ran(prompt_set, START, {"openai/m": (USAGE, price(admin, model, START - DAY, 10**6))})
    price(admin, model, START, 10**5)
    done = applied(admin, preview(admin, refunds_credits=True))
    assert (done.changed, done.credits_overcharged, CreditEntry.objects.count()) == (1, 0, 0)


# The job


def many(admin: User, model: LanguageModel, prompt_set: PromptSet, count: int) -> ModelPrice:
    wrong, user = price(admin, model, START - DAY, 10), make_user()
    for number in range(count):
        ran(prompt_set, START, {"openai/m": (USAGE, wrong)}, user=user, number=number)
    return price(admin, model, START, 4)


def test_a_lost_worker_is_followed_up_without_repetition(
    admin: User, model: LanguageModel, prompt_set: PromptSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(admin, model, prompt_set, 7)
    monkeypatch.setattr(working, "BATCH", 3)
    job = apply_repricing(actor=admin, repricing=preview(admin))
    taken, real = [], working._take

    def die_at_the_second(*arguments: Any) -> None:
        taken.append(1)
        if len(taken) == 2:
            real(*arguments)
            raise jobs.Stopped(jobs.StopReason.LOST)  # what was written in this transaction is lost with it
        real(*arguments)

    monkeypatch.setattr(working, "_take", die_at_the_second)
    work_repricings()
    job = Repricing.objects.get(pk=job.pk)
    assert (job.state, job.looked_at, CostCorrection.objects.count()) == ("running", 3, 3)

    Repricing.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - DAY)
    jobs.sweep(Repricing)
    assert work_repricings() == 1

    job = Repricing.objects.get(pk=job.pk)
    assert (job.state, job.looked_at, job.changed) == ("completed", 7, 7)
    assert CostCorrection.objects.count() == 7
    assert (job.cost_before, job.cost_after) == (7 * 11_000, 7 * 4_400)
    assert RepricingDay.objects.filter(repricing=job).get().executions == 7


def test_queries_grow_with_batches_not_with_executions(
    admin: User, model: LanguageModel, prompt_set: PromptSet
) -> None:
    many(admin, model, prompt_set, 2)
    with CaptureQueriesContext(
        connection,
    ) as few:
        preview(admin)
    user = make_user()
    for number in range(40):
        ran(prompt_set, START + DAY, {"openai/m": (USAGE, None)}, user=user, number=number)
    with CaptureQueriesContext(connection) as more:
        preview(admin)
    assert len(more) <= len(few) + 8  # one more day


def test_a_preview_is_applied_once_and_one_is_applied_at_a_time(
    admin: User, model: LanguageModel, prompt_set: PromptSet
) -> None:
    many(admin, model, prompt_set, 1)
    first, second = preview(admin), preview(admin)
    job = apply_repricing(actor=admin, repricing=first)
    for repricing, code in (
        (second, "repricing_underway"),
        (first, "repricing_applied"),
        (job, "repricing_not_applicable"),
    ):
        with pytest.raises(Conflict) as refusal:
            apply_repricing(actor=admin, repricing=repricing)
        assert refusal.value.code == code
    assert Repricing.objects.count() == 3
    finished(job)
    assert CostCorrection.objects.count() == 1


def test_the_same_key_starts_one(admin: User) -> None:
    asked: dict[str, Any] = {"actor": admin, "since": SINCE, "until": UNTIL, "idempotency_key": "k"}
    assert reprice(**asked) == reprice(**asked)
    with pytest.raises(Conflict) as refusal:
        reprice(**{**asked, "since": START})
    assert (refusal.value.code, Repricing.objects.count()) == ("idempotency_key_reused", 1)


def test_cancelling_a_pending_one(admin: User) -> None:
    row = cancel_repricing(actor=admin, repricing=reprice(actor=admin, since=SINCE, until=UNTIL))
    assert (row.state, work_repricings()) == ("cancelled", 0)


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (START, START),
        (START + DAY, START),
        (timezone.now() + DAY, timezone.now() + 2 * DAY),
        (datetime(2026, 1, 1), START),  # what is refused
    ],
)
def test_bad_periods_are_refused(admin: User, since: datetime, until: datetime) -> None:
    with pytest.raises(Invalid) as refusal:
        reprice(actor=admin, since=since, until=until)
    assert (refusal.value.code, Repricing.objects.count()) == ("period_invalid", 0)


def test_a_period_may_begin_before_there_were_computers(
    admin: User, model: LanguageModel, prompt_set: PromptSet
) -> None:
    ran(prompt_set, START, {"openai/m": (USAGE, price(admin, model, START - DAY, 10))})
    assert preview(admin, since=datetime(1, 1, 1, tzinfo=UTC)).looked_at == 1


def test_a_program_nobody_knows(admin: User) -> None:
    with pytest.raises(NotFound):
        reprice(actor=admin, since=SINCE, until=UNTIL, program="nobody")


def test_a_right_that_was_taken_away_stops_the_work(admin: User, model: LanguageModel, prompt_set: PromptSet) -> None:
    many(admin, model, prompt_set, 1)
    job = apply_repricing(actor=admin, repricing=preview(admin))
    User.objects.filter(pk=admin.pk).update(role="ml_engineer")
    work_repricings()
    job = Repricing.objects.get(pk=job.pk)
    assert (job.state, job.error_code) == ("failed", "repricing_apply_forbidden")
    assert not CostCorrection.objects.exists()


def test_only_admins(admin: User) -> None:
    row, engineer = reprice(actor=admin, since=SINCE, until=UNTIL), make_user("ml_engineer")
    attempts: list[Callable[[], Repricing]] = [
        lambda: reprice(actor=engineer, since=SINCE, until=UNTIL),
        lambda: apply_repricing(actor=engineer, repricing=row),
        lambda: cancel_repricing(actor=engineer, repricing=row),
    ]
    for attempt in attempts:
        with pytest.raises(Forbidden):
            attempt()
    assert Repricing.objects.count() == 1


# Price rows that executions stand on


@pytest.mark.parametrize("is_counted", [False, True])
def test_a_model_that_was_charged_for_keeps_its_rows(
    admin: User, model: LanguageModel, prompt_set: PromptSet, is_counted: bool
) -> None:
    other = make_language_model(name="openai/other")
    row = price(admin, model, START - DAY, 10)
    price(admin, other, START - DAY, 10)
    ran(prompt_set, START, {"openai/m": (USAGE, row)})
    if is_counted:
        count_usage()
    with pytest.raises(Conflict) as refusal:
        delete_language_model(actor=admin, model=model)
    assert refusal.value.code == "language_model_in_use"
    delete_language_model(actor=admin, model=other)
    assert list(ModelPrice.objects.all()) == [row]


def test_a_model_that_something_may_be_running_with_keeps_its_rows(
    admin: User, model: LanguageModel, prompt_set: PromptSet
) -> None:
    row = price(admin, model, START - DAY, 10)
    running = ran(prompt_set, timezone.now(), {}, state=ExecutionState.RUNNING.value)
    with pytest.raises(Conflict) as refusal:
        delete_language_model(actor=admin, model=model)
    assert refusal.value.code == "language_model_in_use"
    assert list(ModelPrice.objects.all()) == [row]
    running.delete()
    delete_language_model(actor=admin, model=model)
    assert not ModelPrice.objects.exists()


def test_how_much_is_read_to_delete_a_model_does_not_grow_with_executions(
    admin: User, model: LanguageModel, prompt_set: PromptSet
) -> None:
    """Of executions only what runs and what is not yet counted is read, by the indexes that are there for it."""
    price(admin, model, START - DAY, 10)
    with CaptureQueriesContext(connection) as asked:
        delete_language_model(actor=admin, model=model)
    of_executions = [query["sql"] for query in asked if f'FROM "{Execution._meta.db_table}"' in query["sql"]]
    assert len(of_executions) == 2
    for sql in of_executions:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL enable_seqscan = off")  # it would rather read an empty table
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}" if connection.vendor == "sqlite" else f"EXPLAIN {sql}")
            plan = str(cursor.fetchall())
        assert "execution_leases" in plan or "execution_uncounted" in plan, plan
