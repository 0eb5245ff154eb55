"""The admin pages of evaluations."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from executions.models import Evaluation, EvaluationItem
from executions.services import run_evaluation_here
from mlops.models import User
from programs.models import Program
from programs.services import choose_prompt_set, set_prompt
from tests.executions.evaluating import evaluate, numbers, right_answer, tell
from tests.executions.programs import make_program, provided_model
from tests.provider import Provider, status

pytestmark = pytest.mark.django_db(transaction=True)


SUBMIT = {"_form_submitted": "true"}


@pytest.fixture
def program(provider: Provider, erin: User) -> Program:
    provided_model(provider)
    tell(provider)
    return make_program(actor=erin, name="parity", status="draft")


@pytest.fixture
def page(erin: User) -> Client:
    client = Client()
    client.force_login(erin)
    return client


def address(evaluation: Evaluation) -> str:
    return reverse("admin:executions_evaluation_change", args=[evaluation.pk])


def text_of(answer: Any) -> str:
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def test_a_result_stands_beside_its_baseline(provider: Provider, program: Program, erin: User, page: Client) -> None:
    provider.script(status(400))
    row = run_evaluation_here(evaluate(erin, program, 21, concurrency=1))
    told = text_of(page.get(address(row)))
    score = row.scores.get()
    assert f"<strong>{100 * (score.mean or 0):.1f} %</strong>" in told
    assert "majority baseline 50.0 %" in told
    assert "scored 21 of 21" in told
    assert "1 error" in told
    assert "1 without a score" in told
    assert "data-events" not in told
    listed = text_of(page.get(reverse("admin:executions_evaluation_changelist")))
    assert "21 of 21" in listed


def test_a_running_one_is_live_and_can_be_cancelled(program: Program, erin: User, page: Client) -> None:
    row = evaluate(erin, program, 10)
    told = text_of(page.get(address(row)))
    assert f'data-events="/api/v1/evaluations/{row.pk}/events/"' in told
    assert "scored 0 of 10" in told
    answer = page.post(reverse("admin:executions_evaluation_cancel", args=[row.pk]), SUBMIT)
    assert answer.status_code in (204, 302)
    assert Evaluation.objects.get(pk=row.pk).state == "cancelled"
    told = text_of(page.get(address(row)))
    assert "Scored in part" in told
    assert "Cancelled" in told


def test_items_by_outcome(provider: Provider, program: Program, erin: User, page: Client) -> None:
    provider.script(status(400))
    row = run_evaluation_here(evaluate(erin, program, 20, concurrency=1))
    listed = reverse("admin:executions_evaluationitem_changelist")

    def positions(outcome: str) -> list[int]:
        answer = page.get(listed, {"evaluation__id__exact": str(row.pk), "outcome": outcome})
        assert answer.status_code == 200
        return [item.position for item in answer.context["cl"].result_list]

    assert positions("error") == [0]
    assert positions("lost") == [3, 13]
    assert len(positions("won")) == 17
    item = EvaluationItem.objects.get(evaluation=row, position=3)
    told = text_of(page.get(reverse("admin:executions_evaluationitem_change", args=[item.pk])))
    assert "Is number 3 even?" in told
    assert "signet-trace" in told


def test_a_comparison_is_picked(program: Program, erin: User, page: Client) -> None:
    dataset, metric = numbers(erin, 10), right_answer(erin)
    old, new = (run_evaluation_here(evaluate(erin, program, dataset=dataset, metrics=[metric])) for _ in range(2))
    assert f'<option value="{old.pk}">' in text_of(page.get(address(new)))
    told = text_of(page.get(address(new), {"with": str(old.pk)}))
    assert "Not proven better" in told
    assert "0 won, 0 lost, 10 equal of 10 pairs" in told
    Evaluation.objects.filter(pk=old.pk).update(backends=["openai/other"])
    assert "different language models" in text_of(page.get(address(new), {"with": str(old.pk)}))
    assert page.get(address(new), {"with": "nonsense"}).status_code == 200


def test_a_program_is_evaluated_from_its_page(program: Program, erin: User, page: Client) -> None:
    dataset, metric = numbers(erin, 10), right_answer(erin)
    estimate, start = (
        reverse(f"admin:programs_program_{name}", args=[program.pk])
        for name in ("estimate_evaluation", "evaluate_program")
    )
    form = {"dataset": str(dataset.pk), "metrics": [str(metric.pk)], "concurrency": "4", "calls": "10", **SUBMIT}
    assert page.get(start).status_code == 200
    page.post(estimate, form)
    assert not Evaluation.objects.exists()
    page.post(start, form)
    row = Evaluation.objects.get()
    assert (row.concurrency, row.budget, row.user, row.dataset) == (4, {"calls": 10}, erin, dataset)
    page.post(start, {**form, "calls": "1"})
    assert Evaluation.objects.count() == 1
    run_evaluation_here(row)
    assert "90.0 %" in text_of(page.get(reverse("admin:programs_program_change", args=[program.pk])))


def test_its_prompts_are_chosen_among_those_of_the_program(
    provider: Provider, program: Program, erin: User, page: Client
) -> None:
    first = choose_prompt_set(program)
    former = first.versions.get()
    set_prompt(actor=erin, module=former.module, prompt_template="Say it twice.")
    other = choose_prompt_set(make_program(actor=erin, name="another", status="draft"))
    start = reverse("admin:programs_program_evaluate_program", args=[program.pk])
    offered = text_of(page.get(start))
    assert f'value="{first.pk}"' in offered
    assert str(former) in offered
    assert str(other.pk) not in offered
    form = {"dataset": str(numbers(erin, 3).pk), "metrics": [str(right_answer(erin).pk)], "concurrency": "4", **SUBMIT}

    page.post(start, {**form, "prompt_set": str(other.pk)})
    assert not Evaluation.objects.exists()
    page.post(start, {**form, "prompt_set": str(first.pk)})
    page.post(start, form)

    of_now, of_then = Evaluation.objects.order_by("-id")
    assert of_then.prompt_set == first
    assert of_now.prompt_set == choose_prompt_set(program) != first


def test_users_see_none_of_it(program: Program, erin: User, alice: User) -> None:
    row = evaluate(erin, program, 5)
    client = Client()
    client.force_login(alice)
    assert client.get(address(row)).status_code in (302, 403)
    assert client.post(reverse("admin:executions_evaluation_cancel", args=[row.pk]), SUBMIT).status_code in (
        302,
        403,
        404,
    )
    assert Evaluation.objects.get(pk=row.pk).state == "pending"
