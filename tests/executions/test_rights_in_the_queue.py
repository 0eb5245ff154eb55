"""Rights that are taken away while an execution waits or runs: what waits does not begin, what runs goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group

from executions.models import Execution
from executions.services import process
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess
from executions.types import Mode
from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance
from mlops.services.history import operator
from mlops.services.users import deactivate_user, update_user
from mlops.types import Role
from programs.models import Program
from programs.services import deploy_program, new_version, submit_program
from tests.conftest import api_of
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

CREDIT = 10**6


def queued(user: User, **options: Any) -> Execution:
    """A pending execution, and nobody who would take it."""
    reference = options.pop("program", "answering")
    execution = execute_program(actor=user, program=reference, input={"question": "Why?"}, mode=Mode.ASYNC, **options)
    process.stop_thread()
    return execution


def claimed(execution: Execution) -> Execution:
    """The row after a worker has seen to it."""
    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()
    eventually(lambda: state_of(execution) not in ("pending", "running"))
    return Execution.objects.get(pk=execution.pk)


def refused(execution: Execution, provider: Provider) -> None:
    """It failed without asking a model, and what it had reserved is free again."""
    row = claimed(execution)
    assert (row.state, row.error_code, row.output) == ("failed", "right_taken_away", None)
    assert (row.cost, row.credits_used, row.total_tokens) == (0, 0, 0)
    assert provider.requests == []
    lines = CreditEntry.objects.filter(subject_id=row.pk).order_by("pk").values_list("kind", flat=True)
    assert row.credits_reserved > 0
    assert list(lines) == ["reserve", "release"]
    assert proven_balance(row.user) == 10 * CREDIT


def set_role(user: User, role: Role) -> None:
    update_user(actor=operator(), user=user, fields={"role": role.value})


def deactivated(user: User) -> None:
    deactivate_user(actor=operator(), user=user)


def demoted(user: User) -> None:
    set_role(user, Role.ML_USER)


@pytest.mark.parametrize(
    ("role", "status", "take_away"),
    [("ml_user", "production", deactivated), ("ml_engineer", "draft", demoted), ("admin", "testing", demoted)],
)
def test_what_waits_does_not_begin_without_its_owner_s_right(
    provider: Provider, role: str, status: str, take_away: Callable[[User], None]
) -> None:
    provided_model(provider)
    program = make_program(status=status)
    user = make_user(role, credits=10)
    execution = queued(user, program=program)
    take_away(user)
    refused(execution, provider)


def test_whoever_left_the_group_of_a_program_has_it_executed_no_more(provider: Provider) -> None:
    provided_model(provider)
    group = Group.objects.create(name="insiders")
    make_program(group=group)
    user = make_user(credits=10)
    user.groups.add(group)
    execution = queued(user)
    user.groups.clear()
    refused(execution, provider)


def test_a_language_model_of_one_s_own_choice_needs_the_right_to_choose(provider: Provider) -> None:
    provided_model(provider)
    other = provided_model(provider, is_default=False)
    make_program()
    user = make_user("ml_engineer", credits=10)
    execution = queued(user, language_model=other.name)
    demoted(user)
    refused(execution, provider)


def test_what_a_program_does_not_want_kept_is_not_kept_of_it_either(provider: Provider) -> None:
    provided_model(provider)
    make_program(config={"capture": "none"})
    user = make_user(credits=10)
    execution = queued(user)
    deactivated(user)
    assert claimed(execution).input == {}


def test_a_right_that_is_left_is_enough(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    user = make_user("ml_engineer", credits=10)
    execution = queued(user)
    demoted(user)
    assert claimed(execution).state == "completed"


def test_a_version_that_was_replaced_meanwhile_is_executed_as_promised(provider: Provider) -> None:
    provided_model(provider)
    program, admin = make_program(), make_user("admin")
    execution = queued(make_user(credits=10))
    draft = new_version(actor=admin, program=program)
    deploy_program(actor=admin, program=submit_program(actor=admin, program=draft))
    assert Program.objects.get(pk=program.pk).status == "archived"

    row = claimed(execution)

    assert (row.state, row.program_id) == ("completed", program.pk)


@pytest.mark.parametrize(("take_away", "own", "others"), [(demoted, 200, 404), (deactivated, 401, 401)])
def test_what_runs_goes_on_and_is_settled_once_and_who_may_read_it_follows_the_new_role(
    provider: Provider, worker: ExecutionProcess, take_away: Callable[[User], None], own: int, others: int
) -> None:
    provided_model(provider)
    program, user = make_program(status="draft"), make_user("ml_engineer", credits=10)
    colleague = execute_program(actor=make_user("ml_engineer"), program=program, input={"question": "How?"})
    client = api_of(user)
    assert client.get(f"/api/v1/executions/{colleague.pk}/").status_code == 200
    provider.latency_s = 0.3
    execution = execute_program(actor=user, program=program, input={"question": "Why?"}, mode=Mode.ASYNC)
    eventually(lambda: provider.in_flight == 1)

    take_away(user)

    eventually(lambda: state_of(execution) == "completed")
    row = Execution.objects.get(pk=execution.pk)
    ends = CreditEntry.objects.filter(subject_id=row.pk).exclude(kind="reserve").values_list("kind", "used")
    assert list(ends) == [("settle", row.credits_used)]
    assert proven_balance(user) == 10 * CREDIT - row.credits_used < 10 * CREDIT
    assert client.get(f"/api/v1/executions/{row.pk}/").status_code == own
    assert client.get(f"/api/v1/executions/{colleague.pk}/").status_code == others
    again = client.post(f"/api/v1/programs/{program.pk}/execute/", {"input": {"question": "Why?"}}, format="json")
    assert again.status_code == others
    assert len(provider.requests) == 2
