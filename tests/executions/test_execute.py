"""Executing a program through the Python interface: rows, trace, usage, cost, credits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from executions.models import Execution
from executions.services.execute import aexecute_program, execute_program
from executions.services.process import ExecutionProcess
from executions.types import Mode
from mlops.errors import InsufficientCredits, Invalid, NotFound
from mlops.models import CreditEntry
from mlops.selectors import proven_balance
from mlops.services.credits import credits_for
from programs.services import deploy_program, new_version, submit_program
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.provider import Provider, status

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_synchronous_execution_is_stored_with_all_it_used(provider: Provider) -> None:
    model = provided_model(provider)
    program, user = make_program(), make_user(credits=10)
    execution = execute_program(actor=user, program="answering", input={"question": "Why?"})
    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.mode, row.source, row.attempt) == ("completed", "sync", "python", 1)
    assert row.program_id == program.pk
    assert row.output is not None
    assert list(row.output) == ["answer"]
    usage = row.token_usage
    assert 0 < usage["input"] < usage["total"] == usage["input"] + usage["output"]
    assert list(usage["by_model"]) == [model.name]
    assert row.cost == usage["input"] * 400_000 + usage["output"] * 1_600_000
    assert row.prices == [str(model.prices.get().pk)]
    assert row.trace is not None
    kinds = [(span["kind"], span["parent"]) for span in row.trace["spans"]]
    assert kinds == [("module", None), ("llm", 0)]
    assert row.trace["spans"][1]["model"] == model.name
    assert (row.duration_ms or 0) >= (row.waited_ms or 0) > 0
    assert len(provider.requests) == 1


def test_credits_are_reserved_and_settled_at_cost(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    user = make_user(credits=10)
    execution = execute_program(actor=user, program="answering", input={"question": "Why?"})
    row = Execution.objects.get(pk=execution.pk)
    assert row.cost is not None
    assert row.credits_used == credits_for(row.cost) > 0
    assert row.credits_reserved >= row.credits_used
    kinds = list(CreditEntry.objects.filter(subject_id=row.pk).order_by("pk").values_list("kind", flat=True))
    assert kinds == ["reserve", "settle"]
    user.refresh_from_db()
    assert user.ml_credits == 10_000_000 - row.credits_used == proven_balance(user)


def test_an_asynchronous_execution_is_taken_by_a_worker(provider: Provider, worker: ExecutionProcess) -> None:
    provided_model(provider)
    make_program()
    execution = execute_program(
        actor=make_user(credits=10), program="answering", input={"question": "?"}, mode=Mode.ASYNC
    )
    assert execution.state == "pending"
    eventually(lambda: state_of(execution) == "completed")
    row = Execution.objects.get(pk=execution.pk)
    assert (row.mode, row.attempt, row.leased_by) == ("async", 1, worker.name)


def test_the_async_interface_does_the_same(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    user = make_user(credits=10)
    execution = asyncio.run(aexecute_program(actor=user, program="answering", input={"question": "?"}))
    assert Execution.objects.get(pk=execution.pk).state == "completed"


@pytest.mark.parametrize(
    ("given", "field", "code"),
    [
        ({}, "question", "missing"),
        ({"question": None}, "question", "null"),
        ({"question": 3}, "question", "wrong_type"),
        ({"question": "a\x00b"}, "question", "unstorable_text"),
        ({"question": "a\ud800"}, "question", "unstorable_text"),
        ({"question": "?", "config": {"api_base": "http://x"}}, "config", "unknown_field"),
        ({"question": "?", "lm": "x"}, "lm", "unknown_field"),
        ({"question": "?", "demos": []}, "demos", "unknown_field"),
        ({"question": "?", "signature": "a -> b"}, "signature", "unknown_field"),
    ],
)
def test_bad_input_is_refused_before_anything_happens(
    provider: Provider, given: dict[str, Any], field: str, code: str
) -> None:
    provided_model(provider)
    make_program()
    user = make_user(credits=10)
    with pytest.raises(Invalid) as refusal:
        execute_program(actor=user, program="answering", input=given)
    assert (field, code) in [(problem.field, problem.code) for problem in refusal.value.problems]
    assert not Execution.objects.exists()
    assert proven_balance(user) == 10_000_000
    assert provider.requests == []


def test_a_user_without_credits_is_refused_and_nothing_happens(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    with pytest.raises(InsufficientCredits, match="credits"):
        execute_program(actor=make_user(), program="answering", input={"question": "?"})
    assert not Execution.objects.exists()
    assert provider.requests == []


def test_an_unpriced_model_is_refused_to_users_and_costs_engineers_an_unknown_amount(provider: Provider) -> None:
    provided_model(provider, price=None)
    make_program()
    with pytest.raises(InsufficientCredits) as refusal:
        execute_program(actor=make_user(credits=10), program="answering", input={"question": "?"})
    assert refusal.value.code == "price_unknown"
    execution = execute_program(actor=make_user("ml_engineer"), program="answering", input={"question": "?"})
    assert Execution.objects.get(pk=execution.pk).cost is None


def test_a_fixed_price_is_charged_for_answers_only(provider: Provider) -> None:
    provided_model(provider, price=None)
    make_program(credits_per_execution=2_000_000)
    user = make_user(credits=10)
    execute_program(actor=user, program="answering", input={"question": "?"})
    assert proven_balance(user) == 8_000_000
    provider.script(status(500))
    failed = execute_program(actor=user, program="answering", input={"question": "?"})
    assert failed.state == "failed"
    assert proven_balance(user) == 8_000_000


@pytest.mark.parametrize("reference", ["nothing", "answering@testing", "answering@9", "answering@nonsense", "@", ""])
def test_a_reference_to_nothing_is_no_fallback(provider: Provider, reference: str) -> None:
    provided_model(provider)
    make_program()
    with pytest.raises(NotFound) as refusal:
        execute_program(actor=make_user(credits=10), program=reference, input={"question": "?"})
    assert refusal.value.code == "program_not_found"


def test_a_draft_is_unknown_to_users_and_runs_for_engineers(provider: Provider) -> None:
    provided_model(provider)
    draft = make_program(status="draft")
    with pytest.raises(NotFound):
        execute_program(actor=make_user(credits=10), program=draft, input={"question": "?"})
    assert execute_program(actor=make_user("ml_engineer"), program=draft, input={"question": "?"}).state == "completed"


def test_a_failing_provider_ends_the_execution_with_its_reason(provider: Provider) -> None:
    provided_model(provider)
    make_program()
    provider.script(status(401))
    user = make_user(credits=10)
    execution = execute_program(actor=user, program="answering", input={"question": "?"})
    row = Execution.objects.get(pk=execution.pk)
    assert (row.state, row.error_code, row.output) == ("failed", "authentication", None)
    assert proven_balance(user) == 10_000_000


def test_a_deployment_is_seen_at_once_in_the_process_that_made_it(provider: Provider) -> None:
    provided_model(provider)
    first, admin, user = make_program(), make_user("admin"), make_user(credits=10)
    assert execute_program(actor=user, program="answering", input={"question": "?"}).program_id == first.pk
    second = submit_program(actor=admin, program=new_version(actor=admin, program=first))
    deploy_program(actor=admin, program=second)
    assert execute_program(actor=user, program="answering", input={"question": "?"}).program_id == second.pk
