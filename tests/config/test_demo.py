"""The main job: what it shows is what was stored, and whatever does not work makes it fail with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from config.demo import first_run, improving, main_job, prepare, working
from config.demo.executing import ASYNCHRONOUS, Executing
from config.demo.improving import Improving
from config.demo.output import Page
from config.sample import texts
from config.sample.loading import USER, load_sample
from datasets.types import DatasetType
from executions.models import Evaluation, Execution
from executions.services import planning, process
from executions.types import Budget, ExecutionState, Mode
from mlops.models import User
from mlops.runtime.matcher import DISCLAIMER
from mlops.services.credits import Subject, reserve
from mlops.services.history import operator
from mlops.services.language_models import create_language_model, set_default, set_secret
from mlops.types import MATCHER_NAME
from optimizations.models import Optimization
from programs.models import Deployment, Program
from programs.services import archive_program

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _matcher_is_default(settings: Settings) -> None:
    settings.SIGNET_LANGUAGE_MODEL = MATCHER_NAME


@pytest.fixture(autouse=True)
def _no_loop_is_left() -> Iterator[None]:
    planning.forget()  # what it believes of the rows of the test before
    yield
    process.stop_thread()


def show() -> tuple[bool, str]:
    output = StringIO()
    return main_job(output), output.getvalue()


def executed() -> str:
    """What the first half shows."""
    output = StringIO()
    with working() as here:
        Executing(Page(output), here).show()
    return output.getvalue()


def improved() -> str:
    """What the second half shows."""
    output = StringIO()
    with working():
        Improving(Page(output)).show()
    return output.getvalue()


def table_of(shown: str) -> dict[str, list[str]]:
    """Before and after, by the name of the row."""
    lines = shown.partition("9. Before and after, on the sealed test set\n")[2].splitlines()[:7]
    assert lines[0].split() == ["before", "after"]
    return {line[3:21].strip(): re.split(r"\s{2,}", line[21:].strip()) for line in lines[1:]}


def expected_table(*evaluations: Evaluation) -> dict[str, list[str]]:
    scores = [evaluation.scores.get() for evaluation in evaluations]
    return {
        "score": [percent(score.mean) for score in scores],
        "95 % interval": [f"{percent(score.low)}..{percent(score.high)}" for score in scores],
        "majority baseline": [percent(score.majority_baseline) for score in scores],
        "calls": [str(evaluation.calls) for evaluation in evaluations],
        "cost": ["0 USD" for _ in evaluations],
        "seconds": [f"{evaluation.seconds:.1f}" for evaluation in evaluations],
    }


def percent(share: float | None) -> str:
    assert share is not None
    return f"{100 * share:.1f} %"


def test_every_step_is_shown_and_stored() -> None:
    load_sample(str)
    shown = executed()
    executions = Execution.objects.all()
    assert {row.state for row in executions} == {ExecutionState.COMPLETED}
    assert [row.mode for row in executions].count(Mode.ASYNC) == ASYNCHRONOUS
    assert [row.mode for row in executions].count(Mode.SYNC) == 2
    assert DISCLAIMER in shown
    assert f"completed: {ASYNCHRONOUS} of {ASYNCHRONOUS}" in shown
    assert "always saying" in shown


def test_the_accuracy_that_is_shown_is_that_of_the_stored_rows() -> None:
    load_sample(str)
    shown = executed()
    gold = {row.message: row.intent for row in texts.messages(DatasetType.TEST)}
    executions = Execution.objects.filter(mode=Mode.ASYNC)
    right = sum(row.output["intent"] == gold[row.input["message"]] for row in executions)
    assert f"intent:    right in {right} of {ASYNCHRONOUS}" in shown


def test_the_ledger_has_what_the_executions_used() -> None:
    load_sample(str)
    before = User.objects.get(username=USER).ml_credits
    executed()
    used = sum(Execution.objects.values_list("credits_used", flat=True))
    assert used > 0
    assert User.objects.get(username=USER).ml_credits == before - used


def test_nothing_of_the_process_is_left_running() -> None:
    load_sample(str)
    executed()
    assert process.present() is None


def test_triage_gets_better_on_the_test_set_and_is_deployed_and_a_second_time_it_does_not() -> None:
    load_sample(str)
    worked, shown = show()
    assert worked, shown
    first, second = Program.objects.filter(name="triage").order_by("version")
    assert (first.status, second.status) == ("archived", "production")
    optimization = Optimization.objects.get()
    assert (optimization.program, optimization.result_program) == (first, second)
    assert (optimization.finish_reason, optimization.is_better) == ("finished", True)
    assert optimization.dataset.type == DatasetType.TRAINING
    before, after = Evaluation.objects.filter(dataset__type=DatasetType.TEST).order_by("id")
    assert (before.program, after.program) == (first, second)
    assert (before.done, after.done) == (337, 337)
    old, new = before.scores.get(), after.scores.get()
    assert old.mean is not None
    assert new.low is not None
    assert old.mean < new.low
    assert table_of(shown) == expected_table(before, after)
    assert (before.calls, after.calls) == (337, 337)
    assert 0 < (old.majority_baseline or 0) < old.mean
    assert re.search(r"difference \+\d+\.\d points, 95 % interval \+\d+\.\d to \+\d+\.\d, p = ", shown)
    assert "10. triage@2 is in production now, and answers" in shown
    assert Execution.objects.latest("id").program == second

    shown = improved()
    assert "warning: Nothing was found that differs from the program as it was." in shown
    assert "Nothing better was found: nothing is deployed." in shown
    assert "9. Before and after" not in shown
    assert Optimization.objects.latest("id").result_program is None
    assert Program.objects.filter(name="triage").count() == 2
    assert Deployment.objects.filter(program__name="triage").count() == 2


def test_a_result_that_is_not_proven_better_is_shown_and_not_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single example as demo proves nothing."""
    monkeypatch.setattr(improving, "DEMOS", 1)
    load_sample(str)
    shown = improved()
    optimization = Optimization.objects.get()
    result = optimization.result_program
    assert result is not None
    assert (optimization.state, optimization.is_better) == ("completed", False)
    before, after = Evaluation.objects.filter(dataset__type=DatasetType.TEST).order_by("id")
    assert (after.program, after.done) == (result, 337)
    assert table_of(shown) == expected_table(before, after)
    assert shown.endswith("   Not proven better at 95 % on all messages: nothing is deployed.\n")
    assert (result.status, optimization.program.status) == ("draft", "production")
    assert Deployment.objects.filter(program__name="triage").count() == 1
    assert not Execution.objects.exists()


def test_where_the_budget_cannot_suffice_nothing_is_compiled_and_the_job_ends_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_sample(str)
    monkeypatch.setattr(improving, "_budget", lambda: Budget(calls=10))
    worked, shown = show()
    assert worked, shown
    assert "Nothing is compiled, nothing is deployed." in shown
    assert not Optimization.objects.exists()
    assert not Evaluation.objects.exists()
    assert Program.objects.filter(name="triage").count() == 1


def test_an_empty_database_is_prepared_once() -> None:
    first, second = StringIO(), StringIO()
    assert prepare(first)
    assert first.getvalue().count("Log in as admin with the password ") == 1
    assert not prepare(second)
    assert second.getvalue() == ""


def test_the_first_run_does_the_main_job_also_where_an_admin_was_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(improving, "_budget", lambda: Budget(calls=10))
    User.objects.create_superuser("boss", password="so long a password")
    first, second = StringIO(), StringIO()
    first_run(first)
    assert "Log in as" not in first.getvalue()
    assert "1. Language model" in first.getvalue()
    assert Execution.objects.filter(state=ExecutionState.COMPLETED).count() == ASYNCHRONOUS + 2
    first_run(second)
    assert second.getvalue() == ""


def test_a_failed_execution_fails_the_demonstration() -> None:
    load_sample(str)
    unreachable = create_language_model(
        actor=operator(), name="openai/unreachable", api_base="http://127.0.0.1:9/v1", max_retries=0
    )
    set_secret(actor=operator(), model=unreachable, value="sk-test")
    set_default(actor=operator(), model=unreachable)
    worked, shown = show()
    assert not worked
    assert "FAILED: Execution" in shown
    assert "provider_unavailable" in shown


def test_a_user_without_credits_fails_the_demonstration() -> None:
    load_sample(str)
    user = User.objects.get(username=USER)
    reserve(user=user, amount=user.ml_credits, key="all of it", subject=Subject("test", user.pk))
    worked, shown = show()
    assert not worked
    assert "insufficient_credits" in shown


def test_a_program_that_is_not_in_production_fails_the_demonstration() -> None:
    load_sample(str)
    archive_program(actor=operator(), program=Program.objects.get(name="triage"))
    worked, shown = show()
    assert not worked
    assert "program_not_found" in shown


def test_a_workspace_without_the_sample_says_what_to_do() -> None:
    model = create_language_model(actor=operator(), name=MATCHER_NAME)
    set_default(actor=operator(), model=model)
    worked, shown = show()
    assert not worked
    assert "manage.py load_sample" in shown


def test_the_command_uses_a_celery_worker_and_prepares_the_workspace() -> None:
    output = StringIO()
    call_command("demo", stdout=output)
    assert "Log in as admin" in output.getvalue()
    assert Execution.objects.filter(state=ExecutionState.COMPLETED).count() == ASYNCHRONOUS + 3
    assert process.present() is None


def test_the_command_fails_when_the_job_does() -> None:
    load_sample(str)
    archive_program(actor=operator(), program=Program.objects.get(name="answer_with_sources"))
    with pytest.raises(CommandError):
        call_command("demo", stdout=StringIO())
