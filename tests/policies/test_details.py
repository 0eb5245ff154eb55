"""What everybody sees beside lists and rows: histories, lineage, timeline, export, periods of a budget, usage, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib import admin
from django.urls import get_resolver, reverse
from django.utils import timezone

from executions.services.usage import count_usage
from mlops.admin.base import RecordAdmin
from mlops.api.history import Remembers
from tests.policies.edges import addresses
from tests.policies.people import World
from tests.policies.table import ADMINS, ENGINEERS, EVERYBODY, INSIDE, OWN, STAFF, Person, Persons
from tests.policies.test_reads import READS, collections, rows

pytestmark = pytest.mark.django_db

DELETED: Mapping[str, Persons] = {
    "programs.signature": ENGINEERS,  # what is deleted is used by no program
    "mlops.user": ADMINS,
}
"""Who may know of a record that has been deleted, where that is not whoever engineers and saw it."""


def remembering() -> set[str]:
    """The models whose REST tells histories."""
    views: list[Any] = [
        getattr(pattern.callback, "cls", object) for _address, pattern in addresses(get_resolver().url_patterns)
    ]
    return {view.queryset.model._meta.label_lower for view in views if issubclass(view, Remembers)}


def last_state(row: Any) -> int:
    return int(row.history.order_by("history_id").values_list("history_id", flat=True).last())


def as_if_deleted(row: Any) -> None:
    """One more state, as deleting leaves it."""
    state = row.history.latest()
    state.pk, state.history_type = None, "-"
    state.save()


def answering(world: World, address: str, query: dict[str, Any] | None = None) -> Persons:
    """Who is answered; who is not is told that there is nothing, or that they may not."""
    answers = {person: world.api(person).get(address, query) for person in Person}
    for person, answer in answers.items():
        assert answer.status_code in (200, 403, 404) if person in EVERYBODY else answer.status_code == 401, address
    return frozenset(person for person, answer in answers.items() if answer.status_code == 200)


def test_histories_over_rest() -> None:
    """By whoever engineers and sees the record."""
    world = World.create()
    made, found = rows(world), {}
    kinds = remembering()
    assert len(kinds) == 13
    for label in kinds:
        row, of_one = made[label], f"{collections()[label]}{made[label].pk}/history/"
        state = last_state(row)
        reads = [
            ("", None),
            (f"{state}/", None),
            ("as-of/", {"time": timezone.now().isoformat()}),
            ("difference/", {"older": state, "newer": state}),
        ]
        told = {answering(world, f"{of_one}{rest}", query) for rest, query in reads}
        assert len(told) == 1, label
        (found[label],) = told
    assert found == {label: READS[label] & ENGINEERS for label in kinds}


def test_deletions_over_rest() -> None:
    world = World.create()
    made, found = rows(world), {}
    for label in remembering():
        as_if_deleted(made[label])
        address, told = f"{collections()[label]}history/deleted/", set()
        assert answering(world, address) == ENGINEERS
        for person in ENGINEERS:
            listed = world.api(person).get(address, {"page_size": 200}).json()["results"]
            told |= {person} if str(made[label].pk) in {state["id"] for state in listed} else set()
        found[label] = frozenset(told)
    owner = made["optimizations.schedule"].user  # type: ignore[attr-defined]
    of_schedules = ADMINS | {person for person, user in world.users.items() if user == owner}
    expected = {label: READS[label] & ENGINEERS for label in found}
    assert found == {**expected, **DELETED, "optimizations.schedule": of_schedules}


def test_histories_in_the_admin() -> None:
    world = World.create()
    made = rows(world)
    for model, page in admin.site._registry.items():
        label = model._meta.label_lower
        if not isinstance(page, RecordAdmin):
            continue
        base, row = f"admin:{label.replace('.', '_')}", made[label]
        if not row.history.exists():  # type: ignore[attr-defined]
            row.save()
        pages = {"history": [row.pk], "simple_history": [row.pk, last_state(row)]}
        for name, arguments in pages.items():
            assert opened(world, reverse(f"{base}_{name}", args=arguments)) == READS[label] & STAFF, (label, name)
        assert opened(world, reverse(f"{base}_deleted")) == STAFF, label


def opened(world: World, address: str) -> Persons:
    answers = {person: world.browsers[person].get(address) for person in Person}
    assert {answer.status_code for answer in answers.values()} <= {200, 302, 403, 404}
    return frozenset(person for person, answer in answers.items() if answer.status_code == 200)


@pytest.mark.django_db(transaction=True)  # exports stream from a thread of their own
def test_reads_of_one_row() -> None:
    world = World.create()
    made = rows(world)
    reads: Mapping[str, tuple[str, Persons]] = {
        "executions/{}/lineage/": ("executions.execution", OWN),
        "programs/{}/timeline/": ("programs.program", INSIDE),
        "programs/{}/cost/": ("programs.program", OWN),
        "datasets/{}/export/": ("datasets.dataset", ENGINEERS),
        "budgets/{}/periods/": ("mlops.budget", ENGINEERS | {Person.OWNER}),
    }
    found = {path: answering(world, f"/api/v1/{path.format(made[label].pk)}") for path, (label, _) in reads.items()}
    assert found == {path: persons for path, (_, persons) in reads.items()}


def test_usage_and_cost_count_what_one_may_see() -> None:
    world = World.create()
    execution: Any = rows(world)["executions.execution"]
    count_usage()
    address = {"usage": "/api/v1/usage/", "cost": f"/api/v1/programs/{execution.program_id}/cost/"}
    assert answering(world, address["usage"]) == EVERYBODY
    named = {"program": str(execution.program_id)}

    counted = {person: world.api(person).get(address["usage"], named).json() for person in EVERYBODY}
    seen = {person for person, report in counted.items() if report.get("total", {}).get("executions")}
    cost = {person: world.api(person).get(address["cost"]).json() for person in OWN}

    assert seen == OWN
    assert {person: report["total"]["executions"] for person, report in cost.items()} == dict.fromkeys(OWN, 1)
    assert {person for person, report in cost.items() if report["monthly_cost_usd"] is not None} == INSIDE
