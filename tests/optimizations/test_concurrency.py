"""Jobs and schedules that race, on the database that the tests run on: a file of SQLite or PostgreSQL."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django_celery_beat.models import PeriodicTask

from datasets.models import Dataset
from datasets.services import update_dataset
from executions.models import Evaluation
from executions.services import evaluate_program, run_evaluation_here
from mlops.errors import Conflict, DomainError
from mlops.models import User
from optimizations.models import Optimization, Schedule
from optimizations.services import compile_program
from optimizations.services.schedules import create_schedule
from tests.optimizations.compiling import examples, make_dataset, make_metric, make_program, matcher

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 3


def race(calls: list[Callable[[], object]]) -> list[str]:
    """The codes of the refusals ("" where there was none) of calls at once, each on a connection of its own."""
    gate = threading.Barrier(len(calls))

    def one(call: Callable[[], object]) -> str:
        try:
            gate.wait(timeout=30)
            call()
        except DomainError as refusal:
            return refusal.code
        finally:
            connections.close_all()
        return ""

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_a_dataset_that_was_changed_since_it_was_read_is_not_compiled_with(erin: User) -> None:
    matcher()
    given = {"program": make_program(erin), "metric": make_metric(erin), "optimizer": "labeled_few_shot"}
    sets = {"dataset": make_dataset(erin, 12), "validation_set": make_dataset(erin, 6, type="validation", offset=20)}
    for name, read in sets.items():
        now = Dataset.objects.get(pk=read.pk)
        update_dataset(actor=erin, dataset=now, examples=examples(9, offset=60))
        with pytest.raises(Conflict) as refusal:
            compile_program(actor=erin, **given, **sets)  # type: ignore[arg-type]
        assert refusal.value.code == "dataset_changed"
        sets[name] = Dataset.objects.get(pk=read.pk)
    assert not Optimization.objects.exists()
    assert not Dataset.objects.exclude(frozen_at=None).exists()


def test_compiles_and_evaluations_of_the_same_rows_start_at_once(erin: User) -> None:
    matcher()
    program = make_program(erin)
    training, validation = make_dataset(erin, 12), make_dataset(erin, 6, type="validation", offset=20)
    first, second = make_metric(erin, name="first"), make_metric(erin, name="second")

    def compiled() -> None:
        compile_program(
            actor=erin, program=program, dataset=training, metric=first, optimizer="labeled_few_shot",
            params={"k": 2}, validation_set=validation,
        )  # fmt: skip

    def evaluated() -> None:
        evaluate_program(actor=erin, program=program, dataset=validation, metrics=[first, second])

    def evaluated_the_other_way() -> None:
        evaluate_program(actor=erin, program=program, dataset=validation, metrics=[second, first])

    for _round in range(ROUNDS):
        row = evaluate_program(actor=erin, program=program, dataset=validation, metrics=[first])

        def ended(row: Evaluation = row) -> None:
            assert run_evaluation_here(row).state == "completed"

        assert race([ended, *[compiled, evaluated, evaluated_the_other_way] * 2]) == [""] * 7
    assert (Optimization.objects.count(), Evaluation.objects.count()) == (2 * ROUNDS, 5 * ROUNDS)


def test_of_schedules_with_one_name_at_once_one_is_created(erin: User) -> None:
    matcher()
    make_program(erin, name="triage")
    make_dataset(erin, 6, type="test", name="intents")
    make_metric(erin, name="right")

    def scheduled() -> None:
        create_schedule(
            actor=erin, name="monday", verb="evaluate", crontab="0 6 * * mon",
            arguments={"program": "triage@1", "dataset": "intents", "metrics": ["right"]},
        )  # fmt: skip

    before = PeriodicTask.objects.count()

    assert Counter(race([scheduled] * 4)) == {"": 1, "schedule_exists": 3}
    assert (Schedule.objects.count(), PeriodicTask.objects.count() - before) == (1, 1)
