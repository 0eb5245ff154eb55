"""Schedules of a program that is limited to a group: for engineers outside of it they do not exist."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group

from mlops.errors import NotFound
from mlops.models import User
from optimizations.models import Optimization, Schedule
from optimizations.policies import schedule_policy
from optimizations.services.running_schedules import run_schedule_now
from optimizations.services.schedules import change_schedule, delete_schedule
from programs.models import Program
from programs.services import new_version, update_program
from tests.conftest import api_of
from tests.factories import make_user
from tests.optimizations.scheduling import compile_arguments, make_schedule, now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def schedule(erin: User) -> Schedule:
    """Of a program of which version 2, not in production yet, is limited to a group that erin is in."""
    group = Group.objects.create(name="insiders")
    group.user_set.add(erin)
    row = make_schedule(erin, compile_arguments(erin))
    program = Program.objects.get(name="triage")
    update_program(actor=erin, program=new_version(actor=erin, program=program), group=group)
    return row


def test_an_engineer_outside_of_the_group_meets_no_such_schedule(erin: User, schedule: Schedule) -> None:
    outsider = make_user("ml_engineer")
    api = api_of(outsider)

    for call in (
        lambda: run_schedule_now(actor=outsider, schedule=schedule),
        lambda: change_schedule(actor=outsider, schedule=schedule, is_enabled=False),
        lambda: delete_schedule(actor=outsider, schedule=schedule),
    ):
        with pytest.raises(NotFound) as refusal:
            call()
        assert refusal.value.code == "schedule_not_found"
    assert api.get("/api/v1/schedules/").json()["results"] == []
    assert api.get(f"/api/v1/schedules/{schedule.pk}/").status_code == 404
    assert api.post(f"/api/v1/schedules/{schedule.pk}/run/").status_code == 404
    assert not Optimization.objects.exists()
    assert now(schedule).is_enabled


def test_members_and_admins_meet_it(erin: User, admin: User, schedule: Schedule) -> None:
    for person in (erin, admin):
        assert list(Schedule.objects.visible_to(person)) == [schedule]
        assert schedule_policy.can(person, "run", schedule)


def test_a_schedule_of_another_program_is_met_by_every_engineer(erin: User, schedule: Schedule) -> None:
    arguments = {**schedule.arguments, "program": str(Program.objects.get(name="triage", version=1).pk)}
    Program.objects.filter(name="triage", version=2).delete()
    by_id = make_schedule(erin, arguments, name="by-id")

    assert by_id.program_name == "triage"
    assert set(Schedule.objects.visible_to(make_user("ml_engineer"))) == {schedule, by_id}


def test_who_leaves_the_group_has_lost_the_schedule(erin: User, schedule: Schedule) -> None:
    erin.groups.clear()

    assert not Schedule.objects.visible_to(erin).exists()
    with pytest.raises(NotFound):
        run_schedule_now(actor=erin, schedule=schedule)
    assert not Optimization.objects.exists()


@pytest.mark.parametrize("reference", ["triage", "triage@production", "triage@1", "by id"])
def test_schedules_of_before_learn_of_their_programs(erin: User, schedule: Schedule, reference: str) -> None:
    migration: Any = importlib.import_module("optimizations.migrations.0007_programs_of_schedules")
    key = str(Program.objects.get(name="triage", version=1).pk)
    arguments = {**schedule.arguments, "program": key if reference == "by id" else reference}
    Schedule.objects.filter(pk=schedule.pk).update(program_name="", arguments=arguments)

    migration.name_programs(apps, None)

    assert now(schedule).program_name == "triage"
