"""Usage in the admin site: the page, what it refuses, and the panel of a program."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from executions.services.usage import count_usage
from mlops.models import User
from tests.executions.test_usage_reports import PICO, TODAY, execute, make_set

pytestmark = pytest.mark.django_db

PAGE = "/admin/executions/usageday/"


def shown(user: User, address: str = PAGE) -> str:
    client = Client()
    client.force_login(user)
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def charts(page: str) -> dict[str, dict[str, list[Any]]]:
    """By title and series, what the charts draw."""
    found = re.findall(r'aria-label="([^"]*)" data-type="\w+" data-value="([^"]*)"', page)
    return {
        title: {series["label"]: series["data"] for series in json.loads(unescape(data))["datasets"]}
        for title, data in found
    }


def test_charts_and_table_show_what_was_used(erin: User, alice: User) -> None:
    triage = make_set("triage")
    execute(alice, triage, cost=PICO // 2)
    execute(alice, triage, cost=None, state="failed", finished_at=TODAY - timedelta(days=1))
    count_usage()
    page = shown(erin, f"{PAGE}?group_by=program")
    drawn = charts(page)
    assert drawn["Cost per day, US dollars"]["executions"][-2:] == [0.0, 0.5]
    assert drawn["Executions per day"]["failed"][-2:] == [1, 0]
    assert len(drawn["Latency, ms"]["p95"]) == 30
    assert "triage" in page
    assert "$0.5" in page
    assert "1 (50.0 %)" in page
    assert f"{reverse('usage')}?format=csv&amp;group_by=program" in page
    assert "<script>" not in page.split("signet-usage-form")[1], "data stands in attributes"


def test_without_usage_it_says_so(erin: User) -> None:
    page = shown(erin)
    assert "Nothing ended in this period." in page
    assert charts(page) == {}


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ("since=2020-01-01", "A report covers 400 days at most."),
        ("since=2026-01-02&last=2026-01-01", "the day itself is excluded"),
        ("last=9999-12-31", "less than or equal to"),
        ("since=yesterday", "Enter a valid date"),
        ("group_by=colour", "Select a valid choice"),
        ("user=nobody", "There is no such account."),
    ],
)
def test_a_bad_question_is_a_complaint_of_the_form(erin: User, parameters: str, complaint: str) -> None:
    page = shown(erin, f"{PAGE}?{parameters}")
    assert complaint in page
    assert charts(page) == {}


def test_names_of_people_are_no_markup(erin: User, alice: User) -> None:
    alice.username = "<script>alert(1)</script>"
    alice.save()
    execute(alice, make_set("triage"))
    count_usage()
    page = shown(erin, f"{PAGE}?group_by=user")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


def test_ml_users_do_not_get_in(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    assert client.get(PAGE).status_code == 302


def test_the_page_of_a_program_shows_what_it_cost(erin: User, alice: User) -> None:
    triage, unused = make_set("triage"), make_set("unused")
    execute(alice, triage, cost=3 * PICO)
    execute(alice, triage, cost=5 * PICO, finished_at=datetime.now(UTC) - timedelta(days=40))
    count_usage()
    page = shown(erin, reverse("admin:programs_program_change", args=[triage.program_id]))
    assert "Cost of the last 30 days" in page
    assert "<strong>$3</strong>, 1 executions" in page
    page = shown(erin, reverse("admin:programs_program_change", args=[unused.program_id]))
    assert "Cost of the last 30 days" not in page


def test_the_first_page_sums_up_the_last_30_days(erin: User, alice: User) -> None:
    assert "Cost of the last 30 days" not in shown(erin, "/admin/")
    execute(alice, make_set("triage"), cost=3 * PICO)
    count_usage()
    page = shown(erin, "/admin/")
    assert "Cost of the last 30 days" in page
    assert "<dd>$3</dd>" in page
    assert charts(page)["Cost per day, US dollars"]["executions"][-1] == 3.0
