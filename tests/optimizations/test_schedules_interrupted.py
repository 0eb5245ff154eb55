"""Starts of schedules that are interrupted, overtaken or slow: each due minute leads to one start, and nobody waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from mlops.models import User
from optimizations.models import Optimization, Schedule
from optimizations.services import compile_program
from optimizations.services.running_schedules import run_due, run_interrupted, run_schedule_now
from optimizations.services.schedule_arguments import rows_of
from optimizations.services.schedules import change_schedule
from tests.optimizations.compiling import make_dataset
from tests.optimizations.scheduling import compile_arguments, make_due, make_schedule, now

pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = 'FROM "datasets_example"'


@pytest.fixture
def arguments(erin: User) -> dict[str, Any]:
    """With a validation set: none has to be split off."""
    make_dataset(erin, 6, type="validation", offset=30, name="intents")
    return {**compile_arguments(erin), "validation_set": "intents"}


@pytest.fixture
def schedule(erin: User, arguments: dict[str, Any]) -> Schedule:
    return make_schedule(erin, arguments)


@contextmanager
def when_examples_are_read(act: Callable[[], object]) -> Iterator[None]:
    """Do `act` in the middle of a start, where it reads the datasets."""

    def watch(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if EXAMPLES in sql:
            act()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield


def killed() -> None:
    raise SystemExit


def interrupt(schedule: Schedule, start: Callable[[], object]) -> None:
    """`start`, and in the middle of it the process ends; long ago."""
    with pytest.raises(SystemExit), when_examples_are_read(killed):
        start()
    Schedule.objects.filter(pk=schedule.pk).exclude(claimed_at=None).update(
        claimed_at=timezone.now() - timedelta(minutes=2)
    )


def test_an_interrupted_start_is_made_up_for_once(schedule: Schedule) -> None:
    interrupt(schedule, lambda: run_due(make_due(schedule).pk))
    assert "interrupted" in now(schedule).last_error
    assert not Optimization.objects.exists()

    run_interrupted()
    run_interrupted()

    started = Optimization.objects.get()
    assert (now(schedule).last_id, now(schedule).last_error, now(schedule).claimed_at) == (started.pk, "", None)


def test_a_start_that_ends_its_process_again_is_not_tried_a_third_time(schedule: Schedule) -> None:
    interrupt(schedule, lambda: run_due(make_due(schedule).pk))
    interrupt(schedule, run_interrupted)

    run_interrupted()

    assert not Optimization.objects.exists()
    assert "interrupted" in now(schedule).last_error


def test_a_start_under_way_is_left_alone(schedule: Schedule) -> None:
    with when_examples_are_read(run_interrupted):
        run_due(make_due(schedule).pk)

    assert Optimization.objects.count() == 1


def test_a_start_that_was_given_up_too_early_starts_nothing_more(schedule: Schedule) -> None:
    """It was slow, not dead: whoever took over has started it."""
    taken_over: list[Optimization] = []

    def take_over() -> None:
        if not taken_over and Schedule.objects.exclude(claimed_at=None).update(
            claimed_at=timezone.now() - timedelta(minutes=2)
        ):
            run_interrupted()
            taken_over.append(Optimization.objects.get())

    with when_examples_are_read(take_over):
        run_due(make_due(schedule).pk)

    assert [Optimization.objects.get()] == taken_over
    assert (now(schedule).last_id, now(schedule).last_error) == (taken_over[0].pk, "")


@pytest.mark.parametrize("changes", [{"is_enabled": False}, {"crontab": "0 0 1 1 *"}])
def test_what_was_switched_off_or_moved_meanwhile_is_not_started(
    erin: User, schedule: Schedule, changes: dict[str, Any]
) -> None:
    done: list[Schedule] = []

    def change() -> None:
        if not done:
            done.append(schedule)
            change_schedule(actor=erin, schedule=schedule, **changes)

    with when_examples_are_read(change):
        run_due(make_due(schedule).pk)
    Schedule.objects.exclude(claimed_at=None).update(claimed_at=timezone.now() - timedelta(minutes=2))
    run_interrupted()
    change_schedule(actor=erin, schedule=schedule, is_enabled=True)
    run_interrupted()

    assert not Optimization.objects.exists()
    assert now(schedule).claimed_at is None


def test_arguments_that_were_changed_meanwhile_are_those_that_are_started(erin: User, schedule: Schedule) -> None:
    done: list[Schedule] = []

    def change() -> None:
        if not done:
            done.append(schedule)
            change_schedule(actor=erin, schedule=schedule, arguments={**schedule.arguments, "seed": 7})

    with when_examples_are_read(change):
        run_schedule_now(actor=erin, schedule=schedule)

    assert Optimization.objects.get().seed == 7


def test_what_was_started_by_hand_is_not_made_up_for(erin: User, schedule: Schedule) -> None:
    interrupt(schedule, lambda: run_due(make_due(schedule).pk))
    run_schedule_now(actor=erin, schedule=schedule)

    run_interrupted()

    assert Optimization.objects.count() == 1
    assert now(schedule).last_error == ""


def test_datasets_are_read_before_anything_is_locked(erin: User, arguments: dict[str, Any]) -> None:
    """On SQLite a transaction keeps everybody else from writing."""
    in_transaction: list[bool] = []

    with when_examples_are_read(lambda: in_transaction.append(connection.in_atomic_block)):
        schedule = make_schedule(erin, arguments)
        change_schedule(actor=erin, schedule=schedule, deploy_if_better=True)
        run_schedule_now(actor=erin, schedule=schedule)
        given = rows_of(owner=erin, verb="compile", arguments=arguments)
        compile_program(actor=erin, **given, idempotency_key="once")

    assert len(in_transaction) >= 4
    assert not any(in_transaction)
    assert Optimization.objects.count() == 2


def test_a_schedule_whose_program_has_gone_can_be_switched_off(erin: User, schedule: Schedule) -> None:
    Schedule.objects.filter(pk=schedule.pk).update(arguments={**schedule.arguments, "program": "nobody"})

    change_schedule(actor=erin, schedule=schedule, is_enabled=False)

    assert not now(schedule).is_enabled
