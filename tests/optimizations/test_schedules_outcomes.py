"""What becomes of the jobs that a schedule started: each is settled once, whatever happened to the schedule since."""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.apps import apps
from django.db import connections

from mlops.models import User
from optimizations.models import Optimization, Schedule
from optimizations.services.running_schedules import run_due, run_schedule_now
from optimizations.services.schedules import after_optimization, change_schedule, delete_schedule, settle_started
from programs.models import Deployment, Program
from programs.services import deploy_program, new_version, roll_back_program
from tests.optimizations.scheduling import (
    compile_arguments,
    end,
    ended,
    in_production,
    make_due,
    make_schedule,
    now,
    started,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def arguments(erin: User) -> dict[str, Any]:
    return compile_arguments(erin)


def test_what_is_proven_better_is_deployed_as_the_owner(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    job = ended(schedule, is_better=True)

    settle_started()

    assert in_production() == "triage@2"
    deployment = Deployment.objects.latest("id")
    assert (deployment.user, str(deployment.program), str(deployment.replaced)) == (erin, "triage@2", "triage@1")
    assert "weekly" in deployment.reason
    assert str(job.pk) in deployment.reason
    assert (now(schedule).last_result, now(schedule).last_error) == ("Deployed triage@2.", "")


def test_the_outcome_is_noted_once(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    job = ended(schedule, is_better=True)

    for _ in range(2):
        after_optimization(job)
        settle_started()

    assert Deployment.objects.filter(program__version=2).count() == 1
    assert now(schedule).last_error == ""


def test_a_minute_that_was_due_while_the_job_worked_does_not_lose_it(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    job = started(schedule)
    run_due(make_due(schedule).pk)
    assert "schedule_running" in now(schedule).last_error
    end(job, is_better=True)

    settle_started()

    assert in_production() == "triage@2"
    assert (now(schedule).last_result, now(schedule).last_error) == ("Deployed triage@2.", "")
    assert Optimization.objects.count() == 1


@pytest.mark.parametrize("again", ["now", "due"])
def test_the_next_run_settles_the_last_one_first(erin: User, arguments: dict[str, Any], again: str) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    first = ended(schedule, is_better=True)

    if again == "now":
        run_schedule_now(actor=erin, schedule=schedule)
    else:
        run_due(make_due(schedule).pk)

    assert in_production() == "triage@2"
    second = Optimization.objects.exclude(pk=first.pk).get()
    assert str(second.program) == "triage@2"
    after = now(schedule)
    assert (after.last_id, after.last_result, after.last_error) == (second.pk, "", "")
    settle_started()
    after_optimization(first)
    assert Deployment.objects.filter(program__version=2).count() == 1
    assert now(schedule).last_result == ""


def test_what_was_settled_is_not_deployed_again(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    first = ended(schedule, is_better=True)
    settle_started()
    roll_back_program(actor=erin, program=Program.objects.get(name="triage", version=2))
    ended(schedule, is_better=False)

    settle_started()
    after_optimization(first)

    assert in_production() == "triage@1"
    assert Deployment.objects.filter(program__version=2).count() == 1
    assert now(schedule).last_result == "Nothing was proven better, so that nothing was deployed."


def test_a_run_that_is_refused_does_not_lose_the_last_one(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, {**arguments, "metric": "right@1"}, deploy_if_better=True)
    job = ended(schedule, is_better=True)
    Schedule.objects.filter(pk=schedule.pk).update(arguments={**arguments, "metric": "nothing"})

    run_due(make_due(schedule).pk)

    assert in_production() == "triage@2"
    assert Optimization.objects.get() == job
    assert "metric_not_found" in now(schedule).last_error


def test_of_those_who_settle_at_once_one_deploys(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    job = ended(schedule, is_better=True)
    gate = threading.Barrier(4)

    def settle(_: int) -> None:
        try:
            gate.wait(30)
            after_optimization(job)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(settle, range(4)))

    assert Deployment.objects.filter(program__version=2).count() == 1
    assert now(schedule).last_result == "Deployed triage@2."


def test_a_deleted_schedule_deploys_nothing(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    job = ended(schedule, is_better=True)
    delete_schedule(actor=erin, schedule=schedule)

    settle_started()

    assert in_production() == "triage@1"
    assert Optimization.objects.get(pk=job.pk).is_noted


def test_a_job_that_no_schedule_started_is_left_alone(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    job = ended(schedule, is_better=True)
    Optimization.objects.filter(pk=job.pk).update(source_kind="", source_id=None)

    settle_started()
    after_optimization(Optimization.objects.get(pk=job.pk))

    assert in_production() == "triage@1"
    assert now(schedule).last_result == ""


@pytest.mark.parametrize("is_better", [False, None])
def test_what_is_not_proven_better_is_not_deployed(erin: User, arguments: dict[str, Any], is_better: Any) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    ended(schedule, is_better=is_better)

    settle_started()

    assert in_production() == "triage@1"
    assert Program.objects.get(name="triage", version=2).status == "draft"
    assert now(schedule).last_result == "Nothing was proven better, so that nothing was deployed."


def test_without_the_wish_nothing_is_deployed(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments)
    ended(schedule, is_better=True)

    settle_started()

    assert in_production() == "triage@1"
    assert now(schedule).last_result == "triage@2 was proven better."


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_job_that_did_not_complete_is_said(erin: User, arguments: dict[str, Any], state: str) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    ended(schedule, is_better=None, state=state, error_message="The provider is away." if state == "failed" else "")

    settle_started()

    assert in_production() == "triage@1"
    said = {"failed": "Failed: The provider is away.", "cancelled": "Cancelled"}
    assert now(schedule).last_result == said[state]


def test_nothing_is_settled_while_the_job_works(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    run_due(make_due(schedule).pk)

    settle_started()

    assert (now(schedule).last_result, now(schedule).last_error) == ("", "")


def test_an_owner_who_may_no_longer_deploys_nothing(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    ended(schedule, is_better=True)
    User.objects.filter(pk=erin.pk).update(role="ml_user")

    settle_started()

    assert in_production() == "triage@1"
    assert Program.objects.get(name="triage", version=2).status == "draft"
    assert "schedule_owner_not_allowed" in now(schedule).last_error


def test_a_version_that_was_deployed_meanwhile_is_not_replaced(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    job = ended(schedule, is_better=True)
    third = new_version(actor=erin, program=job.program)
    Program.objects.filter(pk=third.pk).update(status="testing")
    deploy_program(actor=erin, program=Program.objects.get(pk=third.pk))

    settle_started()

    assert in_production() == "triage@3"
    assert Program.objects.get(name="triage", version=2).status == "draft"
    assert "production_changed" in now(schedule).last_error


def test_a_schedule_that_was_switched_off_deploys_nothing(erin: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    ended(schedule, is_better=True)
    change_schedule(actor=erin, schedule=schedule, is_enabled=False)

    settle_started()

    assert in_production() == "triage@1"
    assert "switched off" in now(schedule).last_result


def test_what_ended_before_jobs_said_so_is_not_deployed_late(erin: User, arguments: dict[str, Any]) -> None:
    migration = importlib.import_module("optimizations.migrations.0006_outcomes_noted_on_jobs")
    schedule = make_schedule(erin, arguments, deploy_if_better=True)
    old = ended(schedule, is_better=True)
    Schedule.objects.filter(pk=schedule.pk).update(last_result="Cancelled")
    other = make_schedule(erin, arguments, name="other")
    awaited = ended(other, is_better=False)
    unfinished = started(make_schedule(erin, arguments, name="third"))

    migration.note_what_has_ended(apps, None)

    noted = Optimization.objects.filter(is_noted=True)
    assert set(noted) == {old}
    assert {awaited, unfinished} == set(Optimization.objects.filter(is_noted=False))
