"""The admin page of metrics, and the bulk action that collects executions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from datasets.models import Dataset
from executions.models import Execution, Metric
from executions.services import create_metric, freeze_metric, rate_execution
from mlops.models import User
from tests.executions.rows import make_prompt_set, new_execution, result, started
from tests.factories import make_language_model, make_program

LIST = "/admin/executions/metric/"
EXECUTIONS = "/admin/executions/execution/"
SUBMIT = {"_form_submitted": "true"}


@pytest.fixture
def browser(erin: User) -> Client:
    client = Client()
    client.force_login(erin)
    return client


def page(verb: str, *args: object) -> str:
    return reverse(f"admin:executions_metric_{verb}", args=args)


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def form(**fields: Any) -> dict[str, Any]:
    config = json.dumps(fields.pop("config", {"field": "answer"}))
    return {"name": "accuracy", "kind": "exact_match", "description": "", "config": config, **fields}


def accuracy(erin: User) -> Metric:
    return create_metric(actor=erin, name="accuracy", kind="exact_match", config={"field": "answer"})


def test_a_metric_is_made_in_the_form(browser: Client, erin: User) -> None:
    empty = browser.get(page("add")).content.decode()
    assert "Weighted share of several fields" in empty
    response = browser.post(page("add"), form())
    row = Metric.objects.get()
    assert response.status_code == 302
    assert (row.config, row.history.get().history_user) == ({"field": "answer"}, erin)
    assert "accuracy" in browser.get(LIST).content.decode()
    shown = browser.get(page("change", row.pk)).content.decode()
    assert "0 to 1" in shown


def test_what_is_wrong_in_the_config_is_said_at_its_field(browser: Client) -> None:
    response = browser.post(page("add"), form(config={"fields": [], "colour": 1}, kind="json_field_match"))
    assert response.status_code == 200
    errors = response.context["adminform"].form.errors
    assert list(errors) == ["config"]
    assert "colour: There is no such setting." in str(errors["config"])
    response = browser.post(page("add"), form(kind="judge", config={}))
    assert list(response.context["adminform"].form.errors) == ["judge_program"]
    assert not Metric.objects.exists()


def test_only_judges_and_embedding_models_can_be_chosen(browser: Client) -> None:
    draft, ready = make_program(name="drafted"), make_program(name="deployed", status="production")
    chat, embedding = make_language_model(), make_language_model(kind="embedding")
    fields = browser.get(page("add")).context["adminform"].form.fields
    assert set(fields["judge_program"].queryset) == {ready}
    assert draft not in fields["judge_program"].queryset
    assert set(fields["language_model"].queryset) == {embedding}
    assert chat not in fields["language_model"].queryset


def test_a_frozen_metric_keeps_its_content(browser: Client, erin: User) -> None:
    row = accuracy(erin)
    changed = form(config={"field": "reply"}, description="x")
    browser.post(page("change", row.pk), changed)
    row.refresh_from_db()
    assert (row.config, row.description) == ({"field": "reply"}, "x")
    freeze_metric(actor=erin, metric=row)
    browser.post(page("change", row.pk), form(config={"field": "stolen"}, description="y"))
    row.refresh_from_db()
    assert (row.config, row.description) == ({"field": "reply"}, "y")
    assert "in use" in said(browser.post(page("delete", row.pk), {"post": "yes"}))
    assert Metric.objects.get() == row


def test_buttons_try_copy_and_freeze(browser: Client, erin: User) -> None:
    row = accuracy(erin)
    tried = browser.post(
        page("try_out", row.pk), {**SUBMIT, "example": '{"answer": "<b>Paris</b>"}', "output": '{"answer": "Rome"}'}
    )
    assert "Score 0. Expected answer '<b>Paris</b>', got 'Rome'." in said(tried)
    assert "<b>Paris" not in browser.get(page("change", row.pk)).content.decode()
    failed = browser.post(page("try_out", row.pk), {**SUBMIT, "example": '{"a": 1}', "output": '{"answer": 1}'})
    assert "The example has no field" in said(failed)
    broken = browser.post(page("try_out", row.pk), {**SUBMIT, "example": "[1]", "output": '{"a": 1}'})
    assert "A JSON object is needed." in broken.content.decode()
    browser.post(page("new_version", row.pk), SUBMIT)
    assert sorted(Metric.objects.values_list("version", flat=True)) == [1, 2]
    browser.post(page("freeze", row.pk), SUBMIT)
    row.refresh_from_db()
    assert row.frozen_at is not None


def test_users_have_no_such_page(alice: User, erin: User) -> None:
    row = accuracy(erin)
    client = Client()
    client.force_login(alice)
    for address in (LIST, page("add"), page("change", row.pk)):
        assert client.get(address).status_code in (302, 403)
    assert client.post(page("add"), form(name="another")).status_code in (302, 403)
    assert Metric.objects.get() == row


def test_selected_executions_are_collected(browser: Client, erin: User) -> None:
    prompt_set = make_prompt_set()
    rows = []
    for question in ("one?", "two?", "three?"):
        execution = started(new_execution(erin, prompt_set, input={"question": question}))
        execution.complete(result(output={"answer": "because"}))
        execution.save()
        rows.append(execution)
    rate_execution(actor=erin, execution=rows[0], name="right", score=0, expected="really")
    selected = {"action": "collect_selected", "_selected_action": [str(row.pk) for row in rows[:2]]}
    asked = browser.post(EXECUTIONS, selected)
    assert asked.status_code == 200
    assert "Collect 2 executions as a dataset" in asked.content.decode()
    assert not Dataset.objects.exists()
    wrong = browser.post(EXECUTIONS, {**selected, "collect": "1", "name": "Not A Name", "type": "training"})
    assert wrong.status_code == 400
    assert not Dataset.objects.exists()
    made = browser.post(EXECUTIONS, {**selected, "collect": "1", "name": "asked", "type": "training"})
    dataset = Dataset.objects.get()
    assert made["Location"] == reverse("admin:datasets_dataset_change", args=[dataset.pk])
    assert [example.data for example in dataset.examples.order_by("position")] == [
        {"question": "one?", "answer": "really"},
        {"question": "two?", "answer": "because"},
    ]
    assert Execution.objects.count() == 3


def test_users_cannot_collect(alice: User, erin: User) -> None:
    client = Client()
    client.force_login(alice)
    execution = started(new_execution(alice, make_prompt_set()))
    execution.complete(result())
    execution.save()
    selected = {"action": "collect_selected", "_selected_action": [str(execution.pk)]}
    client.post(EXECUTIONS, {**selected, "collect": "1", "name": "asked", "type": "training"})
    assert not Dataset.objects.exists()
