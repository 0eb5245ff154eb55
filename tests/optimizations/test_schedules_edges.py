"""Schedules over REST and in the admin site, and the rows of django-celery-beat, which nobody gets to see."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django_celery_beat import models as beat
from django_celery_beat.models import PeriodicTask
from rest_framework.test import APIClient

from mlops.models import User
from optimizations.models import Optimization, Schedule
from optimizations.services.schedules import create_schedule
from tests.conftest import api_of
from tests.optimizations.compiling import make_dataset, make_metric, make_program, matcher

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/v1/schedules/"


@pytest.fixture
def arguments(erin: User) -> dict[str, Any]:
    matcher()
    make_program(erin, name="triage")
    make_dataset(erin, 12, name="intents")
    make_metric(erin, name="right")
    return {
        "program": "triage@testing",
        "dataset": "intents",
        "metric": "right",
        "optimizer": {"name": "labeled_few_shot", "params": {"k": 2}},
        "budget": {"cost_usd": "2.50", "seconds": 600},
    }


@pytest.fixture
def engineer(erin: User) -> APIClient:
    return api_of(erin)


@pytest.fixture
def browser(erin: User) -> Client:
    client = Client()
    client.force_login(erin)
    return client


def body(arguments: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "weekly", "verb": "compile", "arguments": arguments, "crontab": "0 6 * * mon"} | fields


def make_schedule(owner: User, arguments: dict[str, Any]) -> Schedule:
    return create_schedule(actor=owner, **body(arguments))


def test_a_schedule_is_made_changed_run_and_deleted_over_rest(
    engineer: APIClient, erin: User, arguments: dict[str, Any]
) -> None:
    created = engineer.post(URL, body(arguments, time_zone="Europe/Berlin", deploy_if_better=True), format="json")
    assert created.status_code == 201, created.json()
    row = created.json()
    assert created["Location"].endswith(f"{URL}{row['id']}/")
    assert (row["user"], row["arguments"], row["is_enabled"]) == (str(erin.pk), arguments, True)
    assert (row["time_zone"], row["deploy_if_better"], row["last_id"]) == ("Europe/Berlin", True, None)

    address = f"{URL}{row['id']}/"
    stale = engineer.patch(address, {"crontab": "0 7 * * *"}, format="json", headers={"If-Match": '"other"'})
    assert stale.status_code == 412
    changed = engineer.patch(address, {"crontab": "0 7 * * *"}, format="json", headers={"If-Match": created["ETag"]})
    assert (changed.status_code, changed.json()["crontab"]) == (200, "0 7 * * *")
    assert [item["name"] for item in engineer.get(URL, {"verb": "compile"}).json()["results"]] == ["weekly"]

    started = engineer.post(f"{address}run/")
    assert started.status_code == 202, started.json()
    assert started.json()["last_kind"] == "optimization"
    assert started.json()["last_id"] == str(Optimization.objects.get().pk)
    again = engineer.post(f"{address}run/")
    assert (again.status_code, again.json()["code"]) == (409, "schedule_running")

    assert engineer.delete(address).status_code == 204
    assert not PeriodicTask.objects.exists()
    assert engineer.get(address).status_code == 404


@pytest.mark.parametrize(
    ("wrong", "status", "code", "field"),
    [
        ({"crontab": "0 6 * *"}, 400, "crontab_invalid", "crontab"),
        ({"arguments": {"program": "nobody"}}, 400, "arguments_invalid", "arguments.dataset"),
        ({"arguments": []}, 400, None, "arguments"),
        ({"verb": "drop"}, 400, None, "verb"),
        ({"last_error": "none"}, 400, None, "last_error"),
        ({"user": "01890000-0000-7000-8000-000000000000"}, 400, None, "user"),
    ],
)
def test_what_is_wrong_is_named(
    engineer: APIClient, arguments: dict[str, Any], wrong: dict[str, Any], status: int, code: str | None, field: str
) -> None:
    response = engineer.post(URL, body(arguments) | wrong, format="json")

    assert response.status_code == status
    assert code in (None, response.json()["code"])
    assert field in [problem["field"] for problem in response.json()["errors"]]
    assert not Schedule.objects.exists()


def test_an_ml_user_sees_no_schedules(erin: User, alice: User, arguments: dict[str, Any]) -> None:
    schedule = make_schedule(erin, arguments)
    user = api_of(alice)

    assert user.get(URL).json()["results"] == []
    assert user.get(f"{URL}{schedule.pk}/").status_code == 404
    assert user.post(f"{URL}{schedule.pk}/run/").status_code == 404
    assert user.post(URL, body(arguments, name="mine"), format="json").status_code == 403
    assert not Optimization.objects.exists()


def form(arguments: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "name": "weekly",
        "verb": "compile",
        "arguments": json.dumps(arguments),
        "crontab": "0 6 * * mon",
        "time_zone": "Europe/Berlin",
        "is_enabled": "on",
        **fields,
    }


def test_an_engineer_makes_and_changes_a_schedule_on_its_page(
    browser: Client, erin: User, arguments: dict[str, Any]
) -> None:
    add = reverse("admin:optimizations_schedule_add")
    page = browser.get(add).content.decode()
    assert "each run takes its newest version" in page
    assert "labeled_few_shot" in page

    assert browser.post(add, form(arguments)).status_code == 302
    schedule = Schedule.objects.get()
    assert (schedule.user, schedule.arguments, schedule.time_zone) == (erin, arguments, "Europe/Berlin")

    change = reverse("admin:optimizations_schedule_change", args=[schedule.pk])
    assert browser.post(change, form(arguments, crontab="0 7 * * *")).status_code == 302
    assert Schedule.objects.get().crontab == "0 7 * * *"
    history = browser.get(reverse("admin:optimizations_schedule_history", args=[schedule.pk])).content.decode()
    assert "change" in history

    assert (
        browser.post(reverse("admin:optimizations_schedule_delete", args=[schedule.pk]), {"post": "yes"}).status_code
        == 302
    )
    assert not Schedule.objects.exists()
    assert not PeriodicTask.objects.exists()


def test_what_is_wrong_is_said_at_the_field_and_nothing_is_saved(browser: Client, arguments: dict[str, Any]) -> None:
    wrong = form({**arguments, "metric": "nothing"}, crontab="0 6 * * 7")
    add = reverse("admin:optimizations_schedule_add")

    bad_crontab = browser.post(add, wrong)
    bad_metric = browser.post(add, {**wrong, "crontab": "0 6 * * sun"})

    assert bad_crontab.context["adminform"].form.errors.keys() == {"crontab"}
    assert bad_metric.context["adminform"].form.errors.keys() == {"arguments"}
    assert not Schedule.objects.exists()


def test_the_page_runs_it_now_and_links_to_what_was_started(
    browser: Client, erin: User, arguments: dict[str, Any]
) -> None:
    schedule = make_schedule(erin, arguments)

    pressed = browser.post(reverse("admin:optimizations_schedule_run", args=[schedule.pk]), {"_form_submitted": "true"})

    assert pressed.status_code == 302
    started = Optimization.objects.get()
    page = browser.get(reverse("admin:optimizations_schedule_change", args=[schedule.pk])).content.decode()
    assert str(started.pk) in page
    assert browser.get(reverse("admin:optimizations_schedule_changelist")).status_code == 200


def test_nobody_meets_the_rows_of_beat() -> None:
    """With them whoever may edit them could run any task by its name."""
    rows = [beat.PeriodicTask, beat.CrontabSchedule, beat.IntervalSchedule, beat.SolarSchedule, beat.ClockedSchedule]

    assert [row for row in rows if admin.site.is_registered(row)] == []
