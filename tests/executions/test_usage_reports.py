"""Usage reports over REST: what they say, to whom, and what they refuse."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from executions.models import Execution
from executions.selectors import usage
from executions.selectors.usage import UsageQuery, month_before, tomorrow, usage_groups, usage_report
from executions.services.usage import count_usage, exporting
from executions.types import GroupBy
from mlops.models import User
from programs.models import Module, Program, PromptSet, PromptVersion
from tests.conftest import api_of
from tests.executions.rows import new_execution
from tests.factories import make_token, make_user

pytestmark = pytest.mark.django_db

TODAY = datetime.now(UTC).replace(hour=12, minute=0)
PICO = 10**12


def make_set(name: str, version: int = 1, **fields: Any) -> PromptSet:
    program = Program.objects.create(name=name, version=version, status="production", **fields)
    return PromptSet.objects.create(program=program, digest=f"{name}{version}")


def execute(user: User, prompt_set: PromptSet, **fields: Any) -> Execution:
    model = fields.pop("model", "openai/one")
    tokens = {"input": 100, "output": 10, "cached": 40, "requests": 1}
    usage = {**tokens, "by_model": {model: {**tokens, "cost": fields.get("cost", PICO)}}}
    execution = new_execution(
        user,
        prompt_set,
        **{"state": "completed", "finished_at": TODAY, "cost": PICO, "duration_ms": 100.0, "attempt": 1,
           "token_usage": usage, **fields},
    )  # fmt: skip
    execution.save(force_insert=True)
    return execution


def report(client: APIClient, **parameters: Any) -> dict[str, Any]:
    answer = client.get("/api/v1/usage/", parameters)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def costs_by(client: APIClient, key: str, **parameters: Any) -> dict[str, str]:
    return {group["group"][key]: group["cost_usd"] for group in report(client, **parameters)["groups"]}


class TestFigures:
    def test_a_day(self, erin: User, alice: User) -> None:
        triage = make_set("triage")
        execute(alice, triage)
        execute(alice, triage, state="failed", cost=None, credits_used=1_500_000)
        execute(alice, triage, finished_at=TODAY - timedelta(days=1), cost=PICO // 4)
        count_usage()
        found = report(api_of(erin))
        assert [group["group"] for group in found["groups"]] == [
            {"day": (TODAY - timedelta(days=1)).date().isoformat()},
            {"day": TODAY.date().isoformat()},
        ]
        today = found["groups"][1]
        assert {name: today[name] for name in ("executions", "failed", "error_rate", "unpriced", "cost_usd")} == {
            "executions": 2, "failed": 1, "error_rate": 0.5, "unpriced": 1, "cost_usd": "1",
        }  # fmt: skip
        assert today["tokens"] == {"input": 200, "cached": 80, "cache_write": 0, "output": 20, "reasoning": 0}
        assert (today["credits"], today["calls"]) == ("1.5", 2)
        assert today["cost_by_kind"] == {"execution": "1", "evaluation": "0", "optimization": "0"}
        assert today["latency"]["count"] == 2
        assert today["latency"]["p50_ms"] == pytest.approx(100, rel=0.044)
        assert (found["total"]["executions"], found["total"]["cost_usd"]) == (3, "1.25")
        assert found["has_more"] is False

    def test_by_program_version_user_and_language_model(self, erin: User, alice: User, bob: User) -> None:
        old, new, other = make_set("triage"), make_set("triage", 2), make_set("other")
        execute(alice, old, cost=PICO)
        execute(bob, new, cost=2 * PICO, model="openai/two")
        execute(bob, other, cost=4 * PICO)
        count_usage()
        client = api_of(erin)
        assert costs_by(client, "program", group_by="program") == {"other": "4", "triage": "3"}
        versions = report(client, group_by="version", program="triage")["groups"]
        assert [(group["group"]["version"], group["cost_usd"]) for group in versions] == [(2, "2"), (1, "1")]
        assert costs_by(client, "user", group_by="user") == {"bob": "6", "alice": "1"}
        assert costs_by(client, "language_model", group_by="language_model") == {"openai/one": "5", "openai/two": "2"}
        assert costs_by(client, "program", group_by="program", user=bob.pk) == {"other": "4", "triage": "2"}
        assert costs_by(client, "user", group_by="user", language_model="openai/one") == {"bob": "4", "alice": "1"}
        assert costs_by(client, "program", group_by="program", program="triage@2") == {"triage": "2"}
        assert report(client, kind="evaluation")["total"]["executions"] == 0

    def test_a_prompt_set_counts_for_each_of_its_prompt_versions(self, erin: User, alice: User) -> None:
        triage = make_set("triage")
        for key in ("read", "answer"):
            module = Module.objects.create(program=triage.program, key=key)
            triage.versions.add(PromptVersion.objects.create(module=module, version="v1"))
        execute(alice, triage)
        count_usage()
        found = report(api_of(erin), group_by="prompt_version")
        told = sorted((group["group"]["module"], group["executions"]) for group in found["groups"])
        assert told == [("answer", 1), ("read", 1)]
        assert found["total"]["executions"] == 1

    def test_the_cost_alone(self, erin: User, alice: User) -> None:
        execute(alice, make_set("triage"))
        count_usage()
        found = report(api_of(erin), group_by="program", latency="false")
        assert (found["groups"][0]["cost_usd"], found["groups"][0]["latency"]) == ("1", None)
        assert (found["total"]["cost_usd"], found["total"]["latency"]) == ("1", None)

    def test_pages(self, erin: User, alice: User) -> None:
        for number in range(3):
            execute(alice, make_set(f"program{number}"), cost=(number + 1) * PICO)
        count_usage()
        client = api_of(erin)
        first = report(client, group_by="program", page_size=2)
        second = report(client, group_by="program", page_size=2, page=2)
        assert [group["cost_usd"] for group in first["groups"]] == ["3", "2"]
        assert [group["cost_usd"] for group in second["groups"]] == ["1"]
        assert (first["has_more"], second["has_more"]) == (True, False)
        assert first["total"] == second["total"]

    def test_what_is_not_counted_yet_is_said(self, erin: User, alice: User) -> None:
        execute(alice, make_set("triage"), finished_at=TODAY - timedelta(days=2))
        found = report(api_of(erin))
        assert found["total"]["executions"] == 0
        assert found["counted_until"] < (TODAY - timedelta(days=1)).isoformat()

    def test_the_number_of_queries_does_not_grow(
        self, erin: User, alice: User, django_assert_max_num_queries: Any
    ) -> None:
        for number in range(5):
            execute(alice, make_set(f"program{number}"))
        count_usage()
        client = api_of(erin)
        report(client, group_by="version")
        with django_assert_max_num_queries(9):
            assert len(report(client, group_by="version")["groups"]) == 5


class TestScopes:
    def test_people_see_their_own_usage_only(self, alice: User, bob: User) -> None:
        triage = make_set("triage")
        execute(alice, triage, cost=PICO)
        execute(bob, triage, cost=2 * PICO)
        count_usage()
        assert report(api_of(alice))["total"]["cost_usd"] == "1"
        assert costs_by(api_of(alice), "user", group_by="user") == {"alice": "1"}
        assert report(api_of(alice), user=bob.pk)["total"]["cost_usd"] == "0"
        assert costs_by(api_of(bob), "language_model", group_by="language_model") == {"openai/one": "2"}

    def test_programs_of_a_group_are_told_to_its_members(self, erin: User, admin: User, alice: User) -> None:
        members = Group.objects.create(name="members")
        execute(alice, make_set("secret", group=members), cost=PICO)
        execute(alice, make_set("open"), cost=2 * PICO)
        count_usage()
        assert costs_by(api_of(erin), "program", group_by="program") == {"open": "2"}
        assert report(api_of(erin))["total"]["cost_usd"] == "2"
        assert report(api_of(admin))["total"]["cost_usd"] == "3"
        erin.groups.add(members)
        assert report(api_of(erin))["total"]["cost_usd"] == "3"

    def test_a_token_tells_of_its_programs_only(self, erin: User, alice: User) -> None:
        execute(alice, make_set("one"), cost=PICO)
        execute(alice, make_set("two"), cost=2 * PICO)
        count_usage()
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(erin, programs=['one'])[1]}")
        assert costs_by(client, "program", group_by="program") == {"one": "1"}
        assert report(client)["total"]["cost_usd"] == "1"

    def test_a_token_that_may_not_read_is_refused(self, erin: User) -> None:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(erin, scopes=['execute'])[1]}")
        answer = client.get("/api/v1/usage/")
        assert (answer.status_code, answer.json()["code"]) == (403, "token_scope_missing")

    def test_nobody_is_told_without_credentials(self, api: APIClient) -> None:
        assert api.get("/api/v1/usage/").status_code == 401


class TestRefusals:
    @pytest.mark.parametrize(
        ("parameters", "field"),
        [
            ({"group_by": "colour"}, "group_by"),
            ({"since": "2026-02-30"}, "since"),
            ({"since": "2026-02-02", "until": "2026-02-01"}, "until"),
            ({"since": "2026-02-02", "until": "2026-02-02"}, "until"),
            ({"since": "0001-01-01"}, "since"),
            ({"since": "2024-01-01", "until": "9999-12-31"}, "since"),
            ({"user": "me"}, "user"),
            ({"kind": "holiday"}, "kind"),
            ({"page": "0"}, "page"),
            ({"page_size": "401"}, "page_size"),
            ({"program": "a\x00b"}, "program"),
            ({"format": "xml"}, "format"),
            ({"order": "cost"}, "order"),
            ({"latency": "perhaps"}, "latency"),
        ],
    )
    def test_bad_questions_name_their_field(self, erin: User, parameters: dict[str, str], field: str) -> None:
        answer = api_of(erin).get("/api/v1/usage/", parameters)
        assert answer.status_code == 400, answer.content
        assert [problem["field"] for problem in answer.json()["errors"]] == [field]

    def test_the_first_day_of_the_calendar_can_be_asked_for(self, erin: User) -> None:
        assert report(api_of(erin), until="0001-01-02")["since"] == "0001-01-01"


class TestProgramCost:
    def test_engineers_see_all_and_people_their_own(self, erin: User, alice: User, bob: User) -> None:
        triage = make_set("triage")
        execute(alice, triage, cost=PICO)
        execute(bob, triage, cost=2 * PICO)
        execute(bob, triage, cost=8 * PICO, finished_at=TODAY - timedelta(days=30))
        count_usage()
        seen = api_of(erin).get("/api/v1/programs/triage/cost/").json()
        assert (seen["monthly_cost_usd"], seen["total"]["cost_usd"]) == ("3", "3")
        seen = api_of(alice).get("/api/v1/programs/triage/cost/").json()
        assert (seen["monthly_cost_usd"], seen["total"]["cost_usd"]) == (None, "1")
        assert api_of(alice).get("/api/v1/programs/none/cost/").status_code == 404

    def test_programs_carry_their_monthly_cost_without_a_query_per_row(self, erin: User, alice: User) -> None:
        client = api_of(erin)
        execute(alice, make_set("first"), cost=PICO)
        count_usage()
        client.get("/api/v1/programs/")
        with CaptureQueriesContext(connection) as few:
            client.get("/api/v1/programs/")
        for number in range(4):
            execute(alice, make_set(f"more{number}"), cost=3 * PICO)
        count_usage()
        with CaptureQueriesContext(connection) as many:
            rows = client.get("/api/v1/programs/").json()["results"]
        assert sorted(row["monthly_cost_usd"] for row in rows) == ["1", "3", "3", "3", "3"]
        assert len(many) == len(few)
        assert client.get("/api/v1/programs/first/").json()["monthly_cost_usd"] == "1"
        assert api_of(alice).get("/api/v1/programs/first/").json()["monthly_cost_usd"] is None
        assert Program.objects.get(name="first").monthly_cost == PICO


@pytest.mark.django_db(transaction=True)
class TestFile:
    def test_all_groups_are_sent_and_no_cell_is_a_formula(self, admin: User) -> None:
        execute(make_user(username="=cmd"), make_set("triage"))
        count_usage()
        answer, text = sent(admin, "group_by=user&format=csv")
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert 'filename="usage-by-user-' in answer.headers["Content-Disposition"]
        (row,) = csv.DictReader(io.StringIO(text))
        assert (row["user"], row["executions"], row["cost_usd"], row["failed"]) == ("'=cmd", "1", "1", "0")

    def test_percentiles_of_a_long_period_are_of_all_its_days(self, admin: User, alice: User) -> None:
        triage = make_set("triage")
        for days, duration in ((0, 10.0), (39, 10.0), (40, 1_000.0), (399, 1_000.0), (400, 9_000.0)):
            execute(alice, triage, finished_at=TODAY - timedelta(days=days), duration_ms=duration)
        count_usage()
        query = UsageQuery(GroupBy.PROGRAM, tomorrow() - timedelta(days=400), tomorrow())
        found = usage_report(actor=admin, query=query)
        (group,), total = found.groups, found.total
        assert group.figures.latency == total.latency
        assert total.latency is not None
        assert total.latency.count == 4
        assert total.latency.p50_ms == pytest.approx(10, rel=0.044)
        assert total.latency.p90_ms == pytest.approx(1_000, rel=0.044)

    def test_a_file_of_several_pages_has_each_group_once(
        self, admin: User, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exporting, "PAGE", 2)
        for number in range(5):
            execute(alice, make_set(f"program{number}"), cost=number * PICO)
        count_usage()
        _answer, text = sent(admin, "group_by=program&format=csv")
        assert [row["program"] for row in csv.DictReader(io.StringIO(text))] == [f"program{n}" for n in range(5)]

    def test_it_is_asked_for_by_header_too(self, admin: User) -> None:
        answer, text = sent(admin, "group_by=version", accept="text/csv")
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert text.startswith("program,version,executions,")

    def test_what_is_refused_is_no_file(self, admin: User) -> None:
        answer, text = sent(admin, "format=csv&since=2026-02-02&until=2026-02-01")
        assert answer.status_code == 400
        assert "usage_period_invalid" in text


@async_to_sync
async def sent(user: User, parameters: str, accept: str = "*/*") -> tuple[Any, str]:
    token = await sync_to_async(make_token)(user)
    headers = {"Authorization": f"Bearer {token[1]}", "Accept": accept}
    answer: Any = await AsyncClient().get(f"/api/v1/usage/?{parameters}", headers=headers)
    pieces = [piece async for piece in answer.streaming_content] if answer.streaming else [answer.content]
    return answer, b"".join(pieces).decode()


class TestGroupsInTurn:
    """What a file is made of: groups in the order of their places, page by page."""

    @pytest.mark.parametrize("group_by", list(GroupBy))
    @pytest.mark.parametrize("size", [1, 2, 400])
    def test_pages_have_every_group_once_whatever_is_counted_between_them(
        self, admin: User, alice: User, bob: User, group_by: GroupBy, size: int
    ) -> None:
        sets = [make_set(name, version) for name in ("a", "b") for version in (1, 2)]  # two of them without prompts
        for prompt_set in sets[:2]:
            for key in ("read", "answer"):
                module = Module.objects.create(program=prompt_set.program, key=key)
                prompt_set.versions.add(PromptVersion.objects.create(module=module, version="v1"))
        for number, prompt_set in enumerate(sets):
            execute(alice, prompt_set, finished_at=TODAY - timedelta(days=number), model=f"openai/{number}")
            execute(bob, prompt_set)
        count_usage()
        query = UsageQuery(group_by, month_before(tomorrow()), tomorrow())
        expected = [group.of for group in usage_report(actor=admin, query=query).groups]

        found: list[usage.Group] = []
        while page := usage_groups(actor=admin, query=query, after=found[-1] if found else None, size=size):
            found += page
            execute(alice, sets[len(found) % 4], cost=len(found) ** 2 * PICO)  # which moves groups in a report by cost
            count_usage()

        assert sorted(map(str, (group.of for group in found))) == sorted(map(str, expected))
        assert len(found) > 1

    def test_the_figures_are_those_of_the_report(self, admin: User, alice: User) -> None:
        for number in range(3):
            execute(alice, make_set(f"program{number}"), cost=number * PICO, duration_ms=10.0 * (number + 1))
        count_usage()
        query = UsageQuery(GroupBy.PROGRAM, month_before(tomorrow()), tomorrow())
        report = usage_report(actor=admin, query=query)
        assert list(reversed(report.groups)) == usage_groups(actor=admin, query=query)
