"""Optimizations, candidates and schedules."""

from __future__ import annotations

import json
from typing import Any

from optimizations.models import Candidate, Optimization, Schedule
from optimizations.services import compile_program
from optimizations.services.schedules import create_schedule
from tests.policies.case import Case, case
from tests.policies.cases.datasets import dataset
from tests.policies.cases.executions import metric
from tests.policies.people import World


def compiling(world: World, **program: Any) -> dict[str, Any]:
    return {
        "program": world.program("testing", **program),
        "dataset": dataset(world),
        "metric": metric(world),
        "optimizer": "labeled_few_shot",
    }


def optimization(world: World) -> Optimization:
    return compile_program(actor=world.engineer, **compiling(world))


@case("compile_program")
def start_compile(world: World) -> Case:
    given = compiling(world)
    keys = {"dataset": str(given["dataset"].pk), "metric": str(given["metric"].pk)}
    body = {"dataset_id": keys["dataset"], "metric": keys["metric"], "optimizer": {"name": "labeled_few_shot"}}
    form = {**keys, "optimizer": "labeled_few_shot", "params": "{}", "seed": "0"}
    return Case(given, given["program"], body=body, form=form)


case("estimate_optimization")(start_compile)


@case("cancel_optimization")
def cancel_optimization(world: World) -> Case:
    row = optimization(world)
    return Case({"optimization": row}, row)


@case("adopt_candidate")
def adopt_candidate(world: World) -> Case:
    state = {"classify": {"instructions": "Sort it.", "demos": []}}
    row = Candidate.objects.create(optimization=optimization(world), number=1, state=state, digest="digest")
    return Case({"candidate": row}, row)


def scheduled(world: World, **program: Any) -> dict[str, Any]:
    given = compiling(world, **program)
    arguments = {"program": str(given["program"].pk), "dataset": "cases", "metric": "right"}
    return {
        "name": "weekly",
        "verb": "compile",
        "arguments": {**arguments, "optimizer": {"name": "labeled_few_shot"}},
        "crontab": "0 6 * * mon",
    }


def schedule(world: World) -> Schedule:
    return create_schedule(actor=world.engineer, **scheduled(world))


@case("create_schedule")
def new_schedule(world: World) -> Case:
    given = scheduled(world, group=None)  # whoever makes a schedule may compile its program
    form = {**given, "arguments": json.dumps(given["arguments"]), "time_zone": "UTC"}
    return Case(given, body=given, form=form)


@case("change_schedule")
def change_schedule(world: World) -> Case:
    row, changes = schedule(world), {"crontab": "0 7 * * mon"}
    return Case({"schedule": row, **changes}, row, body=changes, form=changes)


@case("delete_schedule")
def delete_schedule(world: World) -> Case:
    row = schedule(world)
    return Case({"schedule": row}, row)


@case("run_schedule_now")
def run_schedule_now(world: World) -> Case:
    row = schedule(world)
    return Case({"schedule": row}, row)
