"""Every kind of work that reserves credits is known to the sweeper of leaked reservations."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from executions.models import Execution
from mlops.models import CreditEntry
from mlops.selectors import proven_balance
from mlops.services.credits import Subject, reserve
from mlops.services.reservations import GRACE, LONGEST, sweep_reservations
from tests.executions.rows import make_prompt_set, new_execution, started
from tests.factories import make_user

pytestmark = pytest.mark.django_db
CREDIT = 10**6
KINDS = ("execution", "evaluation", "import", "optimization")


def reserved(subject: Subject, *, age: timedelta = GRACE + timedelta(minutes=1)) -> CreditEntry:
    line = reserve(user=make_user(credits=1), amount=CREDIT, key=f"{subject.kind}:{subject.id}", subject=subject)
    CreditEntry.objects.filter(pk=line.pk).update(created_at=timezone.now() - age)
    return line


def ends_of(line: CreditEntry) -> list[tuple[str, int]]:
    line.user.refresh_from_db()
    assert line.user.ml_credits == proven_balance(line.user)
    ends = CreditEntry.objects.filter(key=f"end:{line.key}")
    return list(ends.values_list("kind", "used"))


@pytest.mark.parametrize("kind", KINDS)
def test_work_whose_row_is_missing_is_over(kind: str) -> None:
    line = reserved(Subject(kind, uuid.uuid4()))

    assert sweep_reservations().ended == 1
    assert ends_of(line) == [("release", 0)]


@pytest.mark.parametrize("kind", ["metric", "corpus"])
def test_trials_and_queries_are_over_after_a_day(kind: str) -> None:
    young, lost = reserved(Subject(kind, uuid.uuid4())), reserved(Subject(kind, uuid.uuid4()), age=2 * LONGEST)

    assert sweep_reservations().ended == 1
    assert (ends_of(young), ends_of(lost)) == ([], [("release", 0)])


@pytest.mark.parametrize("state", ["pending", "running"])
def test_an_execution_that_lives_keeps_its_credits_however_long_it_waits(state: str) -> None:
    execution = new_execution(make_user(), make_prompt_set())
    (execution if state == "pending" else started(execution)).save()
    line = reserved(Subject("execution", execution.pk), age=30 * LONGEST)

    assert sweep_reservations().ended == 0
    assert ends_of(line) == []


def test_an_execution_that_has_ended_is_charged_what_its_row_says() -> None:
    execution = new_execution(make_user(), make_prompt_set(), credits_used=CREDIT // 2)
    execution.save()
    Execution.objects.filter(pk=execution.pk).update(state="failed")
    line = reserved(Subject("execution", execution.pk))

    assert sweep_reservations().ended == 1
    assert ends_of(line) == [("settle", CREDIT // 2)]
