"""What everybody sees: the list, the detail, the wait and the events of every record over REST, and the admin's lists
and pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib import admin
from django.db.models import Model
from django.urls import get_resolver, reverse

from datasets.services import import_dataset
from executions.models import CostCorrection, Evaluation, EvaluationItem, Repricing
from executions.services import rate_execution
from mlops.services.budgets import create_budget
from mlops.types import PICO_PER_USD
from programs.models import Program
from programs.services import add_connection, deploy_program, submit_program
from tests.factories import make_language_model, make_price, make_token
from tests.policies.cases.datasets import corpus, file
from tests.policies.cases.executions import completed, evaluation, repricing
from tests.policies.cases.mlops import unlock_login
from tests.policies.cases.optimizations import adopt_candidate, schedule
from tests.policies.cases.programs import ANSWER, module_of, signature_of
from tests.policies.edges import addresses
from tests.policies.people import World
from tests.policies.table import ADMINS, ENGINEERS, EVERYBODY, INSIDE, OWN, STAFF, Person, Persons

pytestmark = pytest.mark.django_db(transaction=True)

OWN_ACCOUNT = ADMINS | {Person.OWNER}

READS: Mapping[str, Persons] = {
    **dict.fromkeys(
        (
            "programs.program", "programs.module", "programs.moduleconnection", "programs.promptversion",
            "programs.promptset", "programs.deployment", "programs.signature",
        ),
        OWN,
    ),
    **dict.fromkeys(("executions.execution", "executions.feedback"), OWN),
    **dict.fromkeys(
        (
            "executions.evaluation", "executions.evaluationitem", "executions.costcorrection",
            "optimizations.optimization", "optimizations.candidate", "optimizations.schedule",
        ),
        INSIDE,
    ),
    **dict.fromkeys(
        (
            "datasets.dataset", "datasets.example", "datasets.corpus", "datasets.passage", "datasets.import",
            "executions.metric", "executions.repricing", "mlops.languagemodel", "mlops.modelprice", "auth.group",
        ),
        ENGINEERS,
    ),
    **dict.fromkeys(("mlops.user", "mlops.apitoken", "mlops.creditentry"), OWN_ACCOUNT),
    "mlops.budget": ENGINEERS | {Person.OWNER},
    "axes.accessattempt": ADMINS,
}  # fmt: skip
"""Of a production program that is limited to the group, an execution and an account of the owner, and what is nobody's.
What an owner may see of evaluations and compiles is nothing."""

SUMS = {"executions.usageday"}
"""Sums of what others list, shown as reports."""


def rows(world: World) -> dict[str, Model]:
    """One of each."""
    program: Any = world.draft
    connection = add_connection(actor=world.admin, program=program, connection=ANSWER)
    submit_program(actor=world.admin, program=program)
    deploy_program(actor=world.admin, program=program)
    program = Program.objects.get(pk=program.pk)
    execution = completed(world)
    scored = evaluation(world, world.program("testing"))
    example = scored.dataset.examples.earliest("position")
    item = EvaluationItem.objects.create(evaluation=scored, example=example, position=0)
    Evaluation.objects.filter(pk=scored.pk).update(state="cancelled", finished_at=scored.created_at)
    candidate: Any = adopt_candidate(world).row
    job = repricing(world)
    Repricing.objects.filter(pk=job.pk).update(state="cancelled", finished_at=job.created_at)
    model = make_language_model()
    found = [
        program, module_of(program), connection, signature_of(program), program.deployments.get(), execution,
        execution.prompt_set, execution.prompt_set.versions.get(), scored, item, scored.dataset, example, candidate,
        candidate.optimization, corpus(world), corpus(world).passages.get(), schedule(world), job, model,
        make_price(model), world.owner, make_token(world.owner)[0], world.owner.credit_entries.get(), world.group,
        scored.scores.get().metric,
        CostCorrection.objects.create(repricing=job, execution=execution, cost_before=1, cost_after=2),
        rate_execution(actor=world.owner, execution=execution, name="quality", score=1.0),
        import_dataset(actor=world.admin, name="new", type="test", file=file()),
        create_budget(actor=world.admin, scope="user", period="day", limit=PICO_PER_USD, user=world.owner),
        unlock_login(world).row,
    ]  # fmt: skip
    return {row._meta.label_lower: row for row in found if row is not None}


def collections() -> dict[str, str]:
    """Model -> address of its list."""
    answering: list[tuple[str, Any]] = [
        (address, pattern.callback) for address, pattern in addresses(get_resolver().url_patterns)
    ]
    return {
        view.cls.queryset.model._meta.label_lower: address
        for address, view in answering
        if getattr(view, "actions", {}).get("get") == "list"
    }


def test_every_record_has_its_readers() -> None:
    pages = {model._meta.label_lower for model in admin.site._registry}
    assert set(collections()) | pages - SUMS == set(READS)


def test_rest() -> None:
    world = World.create()
    made, seen_in_lists, seen_alone, streamed = rows(world), {}, {}, {}
    streams = {
        "executions.execution",
        "executions.evaluation",
        "executions.repricing",
        "optimizations.optimization",
        "datasets.import",
    }
    for label, address in collections().items():
        row = made[label]
        in_list, alone, events = set(), set(), set()
        for person in Person:
            api = world.api(person)
            listed = api.get(address, {"page_size": 200})
            assert listed.status_code == (200 if person in EVERYBODY else 401)
            if person in EVERYBODY and str(row.pk) in {one["id"] for one in listed.json()["results"]}:
                in_list.add(person)
            answer = api.get(f"{address}{row.pk}/")
            assert answer.status_code in (200, 404 if person in EVERYBODY else 401)
            if answer.status_code == 200:
                alone.add(person)
            if label in streams and api.get(f"{address}{row.pk}/events/").status_code == 200:
                events.add(person)
        seen_in_lists[label], seen_alone[label] = frozenset(in_list), frozenset(alone)
        if label in streams:
            streamed[label] = frozenset(events)
    expected = {label: READS[label] for label in collections()}
    assert seen_in_lists == expected
    assert seen_alone == expected
    assert streamed == {label: READS[label] for label in streams}


def test_admin() -> None:
    world = World.create()
    made = rows(world)
    in_lists: dict[str, Persons] = {}
    on_pages: dict[str, Persons] = {}
    for model in admin.site._registry:
        label = model._meta.label_lower
        if label in SUMS:
            continue
        base, key = f"admin:{label.replace('.', '_')}", made[label].pk
        listed, opened = set(), set()
        for person in Person:
            browser = world.browsers[person]
            answer = browser.get(reverse(f"{base}_changelist"))
            assert answer.status_code in (200, 302, 403)
            if answer.status_code == 200 and answer.context["cl"].queryset.filter(pk=key).exists():
                listed.add(person)
            page = browser.get(reverse(f"{base}_change", args=[key]))
            assert page.status_code in (200, 302, 403, 404)
            if page.status_code == 200:
                opened.add(person)
        in_lists[label], on_pages[label] = frozenset(listed), frozenset(opened)
    expected = {label: READS[label] & STAFF for label in in_lists}
    assert in_lists == expected
    assert on_pages == expected
