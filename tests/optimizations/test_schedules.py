"""Schedules: what may be scheduled, when it is due, and as whom it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from executions.models import Evaluation
from mlops.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from mlops.models import User
from optimizations.models import Optimization, Schedule
from optimizations.services import cancel_optimization
from optimizations.services.crontabs import crontab_of, next_due
from optimizations.services.running_schedules import run_due, run_schedule_now
from optimizations.services.schedules import change_schedule, delete_schedule
from programs.models import Program
from programs.services import archive_program
from tests.factories import make_user
from tests.optimizations.compiling import make_dataset
from tests.optimizations.scheduling import EVERY_MINUTE, compile_arguments, make_due, make_schedule, now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def arguments(erin: User) -> dict[str, Any]:
    return compile_arguments(erin)


@pytest.fixture
def evaluating(erin: User, arguments: dict[str, Any]) -> dict[str, Any]:
    """Of an evaluation that can be started."""
    make_dataset(erin, 6, type="test", offset=20, name="intents")
    return {"program": "triage", "dataset": "intents", "metrics": ["right@1"]}


def refusal_of(call: Callable[[], object]) -> tuple[str, list[str]]:
    with pytest.raises(DomainError) as refusal:
        call()
    return refusal.value.code, [problem.field for problem in refusal.value.problems]


# Crontabs


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("0 6 * * mon", datetime(2026, 3, 9, 6, tzinfo=UTC)),
        ("*/15 * * * *", datetime(2026, 3, 2, 12, 15, tzinfo=UTC)),
        ("30 22 1,15 * *", datetime(2026, 3, 15, 22, 30, tzinfo=UTC)),
        ("0 0 29 feb *", datetime(2028, 2, 29, tzinfo=UTC)),
        ("  0   7  *  *  mon-fri ", datetime(2026, 3, 3, 7, tzinfo=UTC)),
    ],
)
def test_the_next_minute_that_is_due(text: str, due: datetime) -> None:
    assert next_due(text, "UTC", datetime(2026, 3, 2, 12, tzinfo=UTC)) == due


@pytest.mark.parametrize(
    ("after", "due"),
    [
        (datetime(2026, 1, 5, 6, tzinfo=UTC), datetime(2026, 1, 6, 5, tzinfo=UTC)),
        (datetime(2026, 7, 5, 6, tzinfo=UTC), datetime(2026, 7, 6, 4, tzinfo=UTC)),
        # over the night in which the clocks go forward, and back
        (datetime(2026, 3, 28, 6, tzinfo=UTC), datetime(2026, 3, 29, 4, tzinfo=UTC)),
        (datetime(2026, 10, 24, 6, tzinfo=UTC), datetime(2026, 10, 25, 5, tzinfo=UTC)),
    ],
)
def test_the_time_of_day_is_that_of_the_time_zone_in_summer_and_in_winter(after: datetime, due: datetime) -> None:
    assert next_due("0 6 * * *", "Europe/Berlin", after) == due


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Five fields"),
        ("0 6 * *", "Five fields"),
        ("0 6 * * * *", "Five fields"),
        ("@daily", "Five fields"),
        ("61 * * * *", "Minute"),
        ("*/0 * * * *", "Minute"),
        ("mon * * * *", "Minute"),
        ("1-5! * * * *", "Minute"),
        ("-1 * * * *", "Minute"),
        ("٣ * * * *", "Five fields"),
        ("0 24 * * *", "Hour"),
        ("0 22-2 * * *", "Hour"),
        ("0 0 0 * *", "Day(s) Of The Month"),
        ("0 0 * 13 *", "Month(s)"),
        ("0 0 * * 7", "Day(s) Of The Week"),
        ("0 0 * * mon,", "Day(s) Of The Week"),
        (f"0 0 * * {'1,' * 40}1", "Day(s) Of The Week"),
        ("0 0 31 2 *", "never occurs"),
    ],
)
def test_a_crontab_that_cannot_be_kept_or_never_fires_is_refused(text: str, says: str) -> None:
    with pytest.raises(Invalid) as refusal:
        crontab_of(text, "UTC")

    assert refusal.value.code == "crontab_invalid"
    assert says in refusal.value.message
    assert {problem.field for problem in refusal.value.problems} == {"crontab"}


def test_every_field_that_is_wrong_is_named() -> None:
    with pytest.raises(Invalid) as refusal:
        crontab_of("60 24 * 13 mon", "UTC")

    said = [problem.message.partition(":")[0] for problem in refusal.value.problems]
    assert said == ["Minute(s)", "Hour(s)", "Month(s) Of The Year"]


@pytest.mark.parametrize("zone", ["", "Mars/Base", "utc+1", "../etc/passwd", "Europe/Berlin\x00"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(Invalid) as refusal:
        crontab_of(EVERY_MINUTE, zone)

    assert (refusal.value.code, refusal.value.field) == ("time_zone_unknown", "time_zone")


# Creating, changing, deleting


def test_a_schedule_has_the_row_that_beat_reads(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, crontab="0 6 * * mon", time_zone="Europe/Berlin")

    task = PeriodicTask.objects.get(task="optimizations.run_schedule")
    assert now(schedule).periodic_task == task
    assert (json.loads(task.kwargs), task.queue, task.enabled) == ({"schedule": str(schedule.pk)}, "ml_inference", True)
    fields = (task.crontab.minute, task.crontab.hour, task.crontab.day_of_week, str(task.crontab.timezone))
    assert fields == ("0", "6", "mon", "Europe/Berlin")
    record = schedule.history.get()
    assert (record.history_change_reason, record.history_user, record.name) == ("create", erin, "weekly")


def test_a_change_reaches_the_row_that_beat_reads(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments)
    before = now(schedule).due_after

    change_schedule(actor=erin, schedule=schedule, crontab="0 7 * * *", is_enabled=False)

    task = PeriodicTask.objects.get(task="optimizations.run_schedule")
    assert (task.enabled, task.crontab.hour) == (False, "7")
    assert CrontabSchedule.objects.count() == 1
    assert now(schedule).due_after > before


def test_a_deleted_schedule_leaves_nothing_for_beat(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments)

    delete_schedule(actor=erin, schedule=schedule)

    assert not Schedule.objects.exists()
    assert not PeriodicTask.objects.exists()
    assert not CrontabSchedule.objects.exists()
    last = Schedule.history.latest()
    assert (last.history_type, last.history_user, last.history_change_reason) == ("-", erin, "delete")


@pytest.mark.parametrize(
    ("wrong", "code", "field"),
    [
        ({"name": "Weekly!"}, "name_invalid", "name"),
        ({"verb": "drop"}, "verb_unknown", "verb"),
        ({"crontab": "never"}, "crontab_invalid", "crontab"),
        ({"time_zone": "Mars/Base"}, "time_zone_unknown", "time_zone"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(
    erin: User, arguments: dict[str, Any], wrong: dict[str, Any], code: str, field: str
) -> None:
    assert refusal_of(lambda: make_schedule(erin, arguments, **wrong)) == (code, [field])
    assert not Schedule.objects.exists()
    assert not PeriodicTask.objects.exists()


@pytest.mark.parametrize(
    ("changes", "code", "fields"),
    [
        ({"program": None}, "arguments_invalid", ["arguments.program"]),
        ({"program": 5, "extra": 1}, "arguments_invalid", ["arguments.program", "arguments.extra"]),
        ({"program": "nobody"}, "program_not_found", ["arguments.program"]),
        ({"dataset": "nothing"}, "dataset_not_found", ["arguments.dataset"]),
        ({"metric": "nothing"}, "metric_not_found", ["arguments.metric"]),
        ({"optimizer": {"name": "magic"}}, "optimizer_unknown", None),
        ({"budget": {"cost_usd": "a lot"}}, "decimal_invalid", ["arguments.budget.cost_usd"]),
        ({"budget": {"calls": -1}}, "budget_invalid", ["arguments.budget.calls"]),
        ({"seed": float("nan")}, "not_a_number", ["arguments.seed"]),
        ({"program": "a\x00b"}, "unstorable_text", ["arguments.program"]),
    ],
)
def test_arguments_are_looked_at_as_the_verb_does(
    erin: User, arguments: dict[str, Any], changes: dict[str, Any], code: str, fields: list[str] | None
) -> None:
    given = {name: value for name, value in {**arguments, **changes}.items() if value is not None}

    found, where = refusal_of(lambda: make_schedule(erin, given))

    assert found == code
    assert where == fields if fields else all(field.startswith("arguments") for field in where)
    assert not Schedule.objects.exists()


def test_a_sealed_test_set_cannot_be_scheduled_for_training(erin: User, evaluating: dict[str, Any]) -> None:
    sealed = make_dataset(erin, 6, type="test", offset=30)
    given = {"program": "triage", "dataset": str(sealed.pk), "metric": "right", "optimizer": {"name": "copro"}}

    assert refusal_of(lambda: make_schedule(erin, given)) == ("dataset_sealed", ["arguments.dataset"])


def test_only_what_was_compiled_can_be_deployed(erin: User, evaluating: dict[str, Any]) -> None:
    wanted = refusal_of(lambda: make_schedule(erin, evaluating, verb="evaluate", deploy_if_better=True))

    assert wanted == ("deploy_if_better_invalid", ["deploy_if_better"])


def test_a_name_is_used_once(erin: User, arguments: dict[str, Any]) -> None:
    make_schedule(erin, arguments)

    assert refusal_of(lambda: make_schedule(erin, arguments)) == ("schedule_exists", ["name"])


def test_an_ml_user_may_do_nothing_with_schedules(erin: User, alice: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments)

    for call in (
        lambda: make_schedule(alice, arguments, name="mine"),
        lambda: change_schedule(actor=alice, schedule=schedule, is_enabled=False),
        lambda: delete_schedule(actor=alice, schedule=schedule),
        lambda: run_schedule_now(actor=alice, schedule=schedule),
    ):
        with pytest.raises((Forbidden, NotFound)):
            call()
    assert Schedule.objects.visible_to(alice).count() == 0
    assert now(schedule).is_enabled
    assert not Optimization.objects.exists()


@pytest.mark.parametrize(
    ("changes", "takes_over"),
    [
        ({"crontab": "0 7 * * *"}, True),
        ({"deploy_if_better": True}, True),
        ({"is_enabled": False}, False),
        ({"name": "other"}, False),
        ({"crontab": EVERY_MINUTE}, False),
    ],
)
def test_whoever_changes_what_it_does_becomes_its_owner(
    erin: User, admin: User, arguments: dict[str, Any], changes: Any, takes_over: bool
) -> None:
    schedule = make_schedule(admin, arguments)

    change_schedule(actor=erin, schedule=schedule, **changes)

    assert now(schedule).user == (erin if takes_over else admin)


# Running


def test_what_is_due_is_started_as_its_owner(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_due(make_schedule(erin, arguments))
    history = schedule.history.count()

    run_due(schedule.pk)

    started = Optimization.objects.get()
    assert (started.user, started.source_kind, started.source_id) == (erin, "schedule", schedule.pk)
    assert (started.optimizer, started.params["k"], started.program.name) == ("labeled_few_shot", 2, "triage")
    after = now(schedule)
    assert (after.last_kind, after.last_id, after.last_error) == ("optimization", started.pk, "")
    assert after.last_run_at is not None
    assert schedule.history.count() == history


def test_an_evaluation_is_started_on_the_newest_version(erin: User, evaluating: dict[str, Any]) -> None:
    schedule = make_due(make_schedule(erin, evaluating, verb="evaluate"))
    newest = make_dataset(erin, 6, type="test", offset=40, name="intents")

    run_due(schedule.pk)

    started = Evaluation.objects.get()
    assert (started.user, started.dataset, started.source_kind, started.source_id) == (
        erin, newest, "schedule", schedule.pk
    )  # fmt: skip
    assert now(schedule).last_kind == "evaluation"


def test_each_run_takes_the_newest_training_version(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_due(make_schedule(erin, arguments))
    newest = make_dataset(erin, 14, name="intents", offset=1)
    make_dataset(erin, 6, type="test", name="intents", offset=30)

    run_due(schedule.pk)

    newest.refresh_from_db(fields=["frozen_at"])
    assert newest.frozen_at is not None


def test_before_its_minute_nothing_is_started(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, crontab="0 0 1 1 *")

    run_due(schedule.pk)

    assert not Optimization.objects.exists()
    assert now(schedule).last_run_at is None


def test_a_message_that_comes_again_starts_nothing(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_due(make_schedule(erin, arguments, crontab="0 * * * *"))
    Schedule.objects.update(due_after=timezone.now() - timedelta(hours=1))
    run_due(schedule.pk)
    first = Optimization.objects.get()
    cancel_optimization(actor=erin, optimization=first)

    run_due(schedule.pk)

    assert Optimization.objects.get() == first


@pytest.mark.parametrize("change", ["disabled", "deleted"])
def test_what_is_switched_off_or_deleted_starts_nothing(erin: User, arguments: dict[str, Any], change: str) -> None:
    schedule = make_due(make_schedule(erin, arguments))
    if change == "disabled":
        change_schedule(actor=erin, schedule=schedule, is_enabled=False)
        make_due(schedule)
    else:
        delete_schedule(actor=erin, schedule=schedule)

    run_due(schedule.pk)

    assert not Optimization.objects.exists()


def test_switching_on_does_not_make_up_for_what_was_missed(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_due(make_schedule(erin, arguments, crontab="0 * * * *", is_enabled=False))
    Schedule.objects.update(due_after=timezone.now() - timedelta(days=3))

    change_schedule(actor=erin, schedule=schedule, is_enabled=True)
    if timezone.now().minute != 59:  # else the next hour is within the tolerance of clocks
        run_due(schedule.pk)

    assert not Optimization.objects.exists()


@pytest.mark.parametrize("fields", [{"is_active": False}, {"role": "ml_user"}])
def test_an_owner_who_may_no_longer_starts_nothing(erin: User, arguments: dict[str, Any], fields: Any) -> None:
    schedule = make_due(make_schedule(erin, arguments))
    User.objects.filter(pk=erin.pk).update(**fields)

    run_due(schedule.pk)

    assert not Optimization.objects.exists()
    assert "schedule_owner_not_allowed" in now(schedule).last_error
    assert "erin" in now(schedule).last_error


def test_what_the_verb_refuses_is_said(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_due(make_schedule(erin, arguments))
    archive_program(actor=erin, program=Program.objects.get(name="triage"))

    run_due(schedule.pk)

    assert not Optimization.objects.exists()
    assert "program_not_found" in now(schedule).last_error
    assert now(schedule).last_run_at is not None


def test_while_the_last_job_is_not_over_a_run_is_skipped(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_due(make_schedule(erin, arguments))
    run_due(schedule.pk)
    first = Optimization.objects.get()

    run_due(make_due(schedule).pk)

    assert Optimization.objects.get() == first
    assert str(first.pk) in now(schedule).last_error
    assert "schedule_running" in now(schedule).last_error
    with pytest.raises(Conflict) as refusal:
        run_schedule_now(actor=erin, schedule=schedule)
    assert refusal.value.code == "schedule_running"

    cancel_optimization(actor=erin, optimization=first)
    run_due(make_due(schedule).pk)

    assert Optimization.objects.count() == 2
    assert now(schedule).last_error == ""


def test_it_can_be_run_now_and_still_belongs_to_its_owner(erin: User, arguments: dict[str, Any]) -> None:
    other = make_user("ml_engineer")
    schedule = make_schedule(erin, arguments, crontab="0 0 1 1 *")
    due_after = schedule.due_after

    row = run_schedule_now(actor=other, schedule=schedule)

    started = Optimization.objects.get()
    assert (started.user, row.last_id, now(schedule).last_id) == (erin, started.pk, started.pk)
    assert (now(schedule).user, now(schedule).due_after) == (erin, due_after)
