"""The writer's batches against a model of them: starts and ends in any mixture, repeated, late, with spent keys."""

from __future__ import annotations

import uuid

import pytest
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from executions.models import Execution
from executions.services import writer as writer_module
from executions.services.writer import Finish, Job, Start
from mlops.errors import InsufficientCredits
from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance
from tests.executions.rows import make_prompt_set, new_execution, result, started
from tests.executions.test_writer import record
from tests.factories import from_ledger, make_user

CREDIT = 10**6


class Batches(RuleBasedStateMachine):
    """Batches of starts and ends in any mixture against a model: an account of 100 that is limited, one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.example = transaction.atomic()
        vars(self.example)["_from_testcase"] = True  # what the writer commits is the example's to take back
        self.example.__enter__()
        self.prompt_set = make_prompt_set(uuid.uuid4().hex)
        self.limited, self.unlimited = make_user(), make_user("ml_engineer")
        from_ledger(self.limited, 100)
        self.balances = {self.limited.pk: 100 * CREDIT, self.unlimited.pk: 0}
        self.running: list[Execution] = []
        self.ended: list[Execution] = []
        self.keys: dict[str, uuid.UUID] = {}

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    @rule(
        ends=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60), st.booleans()), max_size=4),
        starts=st.lists(
            st.tuples(st.booleans(), st.integers(0, 60), st.sampled_from(["", "", "", "a", "b"])), max_size=5
        ),
        is_repeated=st.booleans(),
    )
    def batch(self, ends: list[tuple[int, int, bool]], starts: list[tuple[bool, int, str]], is_repeated: bool) -> None:
        jobs: list[Job] = []
        expected: list[object] = []
        for number, used, is_mine in ends:
            if self.running:
                jobs.append(self._end(self.running[number % len(self.running)], used * CREDIT, is_mine))
                expected.append(is_mine)
        for is_limited, reserved, key in starts:
            job, outcome = self._start(is_limited, reserved * CREDIT, key)
            jobs.append(job)
            expected.append(outcome)
        outcomes = writer_module._stored(jobs)
        if is_repeated and len({job.execution.pk for job in jobs}) == len(jobs):  # the answer of the commit was lost
            writer_module._commit(jobs, True)
        assert [type(one) if isinstance(one, Exception) else one for one in outcomes] == expected

    def _end(self, execution: Execution, used: int, is_mine: bool) -> Finish:
        if not is_mine:
            late = Execution.objects.get(pk=execution.pk)
            late.complete(result())
            late.credits_used, late.lease_token = used, uuid.uuid4()
            return Finish(late)
        self.running.remove(execution)
        self.ended.append(execution)
        execution.complete(result())
        execution.credits_used = used
        self.balances[execution.user_id] += execution.credits_reserved - used
        return Finish(execution)

    def _start(self, is_limited: bool, reserved: int, key: str) -> tuple[Start, object]:
        user = self.limited if is_limited else self.unlimited
        execution = started(new_execution(user, self.prompt_set, credits_reserved=reserved))
        job = Start(execution, is_limited, record(user, execution, key) if key else None)
        spent = f"{user.pk}:{key}"
        if spent in self.keys:
            return job, False
        if is_limited and self.balances[user.pk] < max(reserved, 1):
            return job, InsufficientCredits
        if key:
            self.keys[spent] = execution.pk
        self.balances[user.pk] -= reserved
        self.running.append(execution)
        return job, True

    @invariant()
    def the_ledger_is_right(self) -> None:
        users = User.objects.filter(pk__in=self.balances)
        assert dict(users.values_list("pk", "ml_credits")) == self.balances
        assert {user.pk: proven_balance(user) for user in users} == self.balances

    @invariant()
    def rows_and_lines_agree(self) -> None:
        states = dict(Execution.objects.values_list("pk", "state"))
        assert states == {
            **{execution.pk: "running" for execution in self.running},
            **{execution.pk: "completed" for execution in self.ended},
        }
        used = CreditEntry.objects.filter(kind="settle").values_list("subject_id", "used")
        assert dict(used) == {row.pk: row.credits_used for row in self.ended if row.credits_used}


@pytest.mark.django_db
def test_batches_are_their_model() -> None:
    chosen = settings(max_examples=40, stateful_step_count=10, deadline=None, database=None)
    run_state_machine_as_test(Batches, settings=chosen)
