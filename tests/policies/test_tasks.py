"""Tasks take no actor. The one that starts work for somebody starts it with the rights that its owner has by then."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from config.celery import app
from executions.models import Evaluation
from optimizations.models import Optimization, Schedule
from optimizations.services.running_schedules import run_due
from tests.policies.cases.datasets import dataset
from tests.policies.cases.optimizations import schedule
from tests.policies.edges import task_edges
from tests.policies.observing import forget
from tests.policies.people import World
from tests.policies.table import Person, may


def test_no_task_is_told_who_acts() -> None:
    given = {edge.name: set(inspect.signature(app.tasks[edge.name].run).parameters) for edge in task_edges()}

    assert {name for name, parameters in given.items() if parameters & {"actor", "user", "owner"}} == set()
    assert {name: parameters for name, parameters in given.items() if parameters} == {
        "optimizations.run_schedule": {"schedule"}
    }


@pytest.mark.django_db
@pytest.mark.parametrize(("verb", "model"), [("compile_program", Optimization), ("evaluate_program", Evaluation)])
def test_a_schedule_acts_with_the_rights_of_its_owner(verb: str, model: Any) -> None:
    world = World.create()
    row = schedule(world)
    arguments = row.arguments
    if verb == "evaluate_program":
        on = str(dataset(world).pk)
        arguments = {"program": arguments["program"], "dataset": on, "metrics": ["right"]}
    changes: dict[str, Any] = {"arguments": arguments, "verb": verb.removesuffix("_program")}
    started = set()
    for person, user in world.users.items():
        forget()
        with transaction.atomic():
            due = timezone.now() - timedelta(days=8)
            Schedule.objects.filter(pk=row.pk).update(user=user, due_after=due, **changes)
            run_due(row.pk)
            jobs = list(model.objects.values_list("user", flat=True))
            error = Schedule.objects.values_list("last_error", flat=True).get(pk=row.pk)
            transaction.set_rollback(True)
        assert jobs in ([], [user.pk])
        assert bool(jobs) != bool(error), f"{person}: {error}"
        started |= {person} if jobs else set()
    assert started == may(verb)
    assert Person.DEACTIVATED not in started
