"""Executions, metrics, evaluations and repricings. What runs belongs to the owner, who is in the program's group."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from executions.models import Evaluation, Execution, Metric, Repricing
from executions.services import create_metric, evaluate_program
from executions.services.repricing import reprice
from executions.types import ExecutionState
from programs.models import Program
from programs.services import choose_prompt_set
from tests.policies.case import Case, case
from tests.policies.cases.datasets import dataset
from tests.policies.cases.mlops import once
from tests.policies.people import World

RATING = {"name": "quality", "score": 1.0}


def execution(world: World, **fields: Any) -> Execution:
    """Of the owner, on a program in production."""
    program = world.program("production")
    defaults = {"mode": "async", "source": "rest", "input": {"message": "lost"}}
    kept = {"user": world.owner, "program": program, "prompt_set": choose_prompt_set(program)}
    return Execution.objects.create(**kept, **{**defaults, **fields})


def completed(world: World, **fields: Any) -> Execution:
    now = timezone.now()
    ended = {"output": {"intent": "card"}, "started_at": now, "finished_at": now, "attempt": 1}
    return execution(world, state=ExecutionState.COMPLETED.value, **ended, **fields)


def metric(world: World) -> Metric:
    """The same one for all that need a metric."""
    found: Metric | None = Metric.objects.filter(name="right").first()
    return found or create_metric(actor=world.admin, name="right", kind="exact_match", config={"field": "intent"})


def evaluation(world: World, program: Program) -> Evaluation:
    return evaluate_program(actor=world.engineer, program=program, dataset=dataset(world), metrics=[metric(world)])


@case("cancel_execution")
def cancel_execution(world: World) -> Case:
    row = execution(world)
    return Case({"execution": row}, row)


@case("rate_execution")
def rate_execution(world: World) -> Case:
    row = completed(world)
    return Case({"execution": row, **RATING}, row, body={"execution_id": str(row.pk), **RATING}, form=RATING)


@case("refund_execution")
def refund_execution(world: World) -> Case:
    row = completed(world, credits_used=10)
    return Case({"execution": row, "key": "matrix"}, row, body={"credits": "0.00001"}, form={"note": "wrong", **once()})


@case("collect_examples")
def collect_examples(world: World) -> Case:
    """An execution that everybody of them may see."""
    row = completed(world)
    Program.objects.filter(pk=row.program_id).update(group=None)
    given = {"name": "collected", "type": "training"}
    return Case(given, row, body=given, form={**given, "collect": "1"})


@case("create_metric")
def new_metric(world: World) -> Case:
    given = {"name": "new", "kind": "exact_match"}
    form = {**given, "config": '{"field": "intent"}'}
    return Case({**given, "config": {"field": "intent"}}, body={**given, "config": {"field": "intent"}}, form=form)


@case("update_metric")
def update_metric(world: World) -> Case:
    row, changes = metric(world), {"description": "changed"}
    return Case({"metric": row, **changes}, row, body=changes, form=changes)


@case("new_metric_version")
def new_metric_version(world: World) -> Case:
    row = metric(world)
    return Case({"metric": row}, row)


@case("freeze_metric")
def freeze_metric(world: World) -> Case:
    row = metric(world)
    return Case({"metric": row}, row)


@case("delete_metric")
def delete_metric(world: World) -> Case:
    row = metric(world)
    return Case({"metric": row}, row)


@case("try_metric")
def try_metric(world: World) -> Case:
    row, given = metric(world), {"example": {"intent": "card"}, "output": {"intent": "card"}}
    form = {"example": '{"intent": "card"}', "output": '{"intent": "card"}'}
    return Case({"metric": row, **given}, row, body=given, form=form)


@case("evaluate_program")
def start_evaluation(world: World) -> Case:
    program, on, by = world.program("testing"), dataset(world), metric(world)
    form = {"dataset": str(on.pk), "metrics": str(by.pk), "concurrency": "1"}
    body = {"dataset_id": str(on.pk), "metrics": [str(by.pk)]}
    return Case({"program": program, "dataset": on, "metrics": [by]}, program, body=body, form=form)


case("estimate_evaluation")(start_evaluation)


@case("cancel_evaluation")
def cancel_evaluation(world: World) -> Case:
    row = evaluation(world, world.program("testing"))
    return Case({"evaluation": row}, row)


@case("compare_evaluations")
def compare_evaluations(world: World) -> Case:
    row = evaluation(world, world.program("testing"))
    Evaluation.objects.filter(pk=row.pk).update(
        state="completed", started_at=timezone.now(), finished_at=timezone.now(), finish_reason="finished"
    )
    row = Evaluation.objects.get(pk=row.pk)
    return Case({"baseline": row, "candidate": row}, row, query={"with": str(row.pk)})


def repricing(world: World) -> Repricing:
    begin = timezone.now() - timedelta(days=1)
    return reprice(actor=world.admin, since=begin, until=timezone.now())


@case("reprice")
def start_repricing(world: World) -> Case:
    until = timezone.now()
    since = until - timedelta(days=1)
    form = {
        f"{name}_{part}": f"{time:{form}}"
        for name, time in (("since", since), ("until", until))
        for part, form in ((0, "%Y-%m-%d"), (1, "%H:%M:%S"))
    }
    body = {"since": since.isoformat(), "until": until.isoformat()}
    return Case({"since": since, "until": until}, body=body, form=form)


@case("apply_repricing")
def apply_repricing(world: World) -> Case:
    row = repricing(world)
    Repricing.objects.filter(pk=row.pk).update(
        state="completed", started_at=timezone.now(), finished_at=timezone.now(), changed=1
    )
    row = Repricing.objects.get(pk=row.pk)
    return Case({"repricing": row}, row)


@case("cancel_repricing")
def cancel_repricing(world: World) -> Case:
    row = repricing(world)
    return Case({"repricing": row}, row)
