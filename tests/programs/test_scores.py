"""Scores of evaluations on programs and prompts: the latest stands, nothing else of the row moves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse

from mlops.errors import NotFound
from mlops.models import User
from programs.models import Program, PromptSet, PromptVersion
from programs.services import activate_prompt_version, choose_prompt_set, create_prompt_version, record_scores
from tests.conftest import api_of
from tests.factories import make_program

TEST_SET = "support_messages/test@1"


def score(mean: float, at: str = "2026-11-23T10:00:00+00:00") -> dict[str, Any]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 50, "evaluation": str(uuid4()), "at": at}


@pytest.fixture
def program(db: None) -> Program:
    return make_program(name="triage")


@pytest.fixture
def prompt_set(program: Program) -> PromptSet:
    return choose_prompt_set(program)


def test_scores_stand_on_the_program_and_on_the_prompts_that_were_used(
    erin: User, program: Program, prompt_set: PromptSet
) -> None:
    other = create_prompt_version(actor=erin, module=program.modules.get(), prompt_template="Look twice.")
    before = (program.updated_at, program.history.count())
    found = score(0.72)

    record_scores(
        actor=erin, program=program, prompt_set=prompt_set, dataset=TEST_SET, scores={"intent_match@1": found}
    )

    now = Program.objects.get(pk=program.pk)
    assert now.metrics == {TEST_SET: {"intent_match@1": found}}
    assert prompt_set.versions.get().performance_metrics == {TEST_SET: {"intent_match@1": found}}
    assert PromptVersion.objects.get(pk=other.pk).performance_metrics == {}
    assert (now.updated_at, now.history.count()) == before


def test_other_datasets_and_metrics_stay(erin: User, program: Program, prompt_set: PromptSet) -> None:
    first, second, third = score(0.1), score(0.2), score(0.3)
    for dataset, metric, found in ((TEST_SET, "a@1", first), (TEST_SET, "b@1", second), ("other/test@2", "a@1", third)):
        record_scores(actor=erin, program=program, prompt_set=prompt_set, dataset=dataset, scores={metric: found})

    expected = {TEST_SET: {"a@1": first, "b@1": second}, "other/test@2": {"a@1": third}}
    assert Program.objects.get(pk=program.pk).metrics == expected
    assert prompt_set.versions.get().performance_metrics == expected


def test_the_later_evaluation_stands_whichever_is_noted_last(
    erin: User, program: Program, prompt_set: PromptSet
) -> None:
    # Half past eleven in Berlin is before eleven in UTC, which the texts alone would not tell.
    later, earlier = score(0.8, "2026-11-23T11:00:00+00:00"), score(0.7, "2026-11-23T11:30:00+01:00")
    for found in (later, earlier):
        record_scores(actor=erin, program=program, prompt_set=prompt_set, dataset=TEST_SET, scores={"a@1": found})

    assert Program.objects.get(pk=program.pk).metrics == {TEST_SET: {"a@1": later}}
    assert prompt_set.versions.get().performance_metrics == {TEST_SET: {"a@1": later}}


def test_a_program_that_has_gone_is_said_to_be_missing(erin: User, program: Program, prompt_set: PromptSet) -> None:
    gone = Program(pk=uuid4(), name="gone")

    with pytest.raises(NotFound) as refusal:
        record_scores(actor=erin, program=gone, prompt_set=prompt_set, dataset=TEST_SET, scores={"a@1": score(1)})

    assert refusal.value.code == "program_not_found"
    assert prompt_set.versions.get().performance_metrics == {}


@pytest.mark.django_db(transaction=True)
def test_scores_that_are_noted_at_once_are_all_kept_and_the_latest_of_each_stands(erin: User) -> None:
    program = make_program()
    prompt_set = choose_prompt_set(program)
    notes = [
        (f"set{number % 2}/test@1", score(number / 10, f"2026-11-23T10:00:0{number}+00:00")) for number in range(8)
    ]

    def note(item: tuple[str, dict[str, Any]]) -> None:
        try:
            record_scores(actor=erin, program=program, prompt_set=prompt_set, dataset=item[0], scores={"a@1": item[1]})
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(note, notes))

    expected = {"set0/test@1": {"a@1": notes[6][1]}, "set1/test@1": {"a@1": notes[7][1]}}
    assert Program.objects.get(pk=program.pk).metrics == expected
    assert prompt_set.versions.get().performance_metrics == expected


def test_scores_are_read_over_rest_and_on_the_pages(erin: User, program: Program, prompt_set: PromptSet) -> None:
    found = score(0.7249)
    record_scores(actor=erin, program=program, prompt_set=prompt_set, dataset=TEST_SET, scores={"<b>@1": found})
    used = prompt_set.versions.get()
    untried = create_prompt_version(actor=erin, module=used.module, prompt_template="Look twice.")
    activate_prompt_version(actor=erin, prompt_version=untried)
    browser = Client()
    browser.force_login(erin)

    rest = api_of(erin)
    pages = [
        browser.get(reverse(f"admin:programs_{model}_change", args=[row.pk])).content.decode()
        for model, row in (("program", program), ("promptversion", used), ("promptversion", untried))
    ]

    assert rest.get(f"/api/v1/programs/{program.pk}/").json()["metrics"] == {TEST_SET: {"<b>@1": found}}
    shown = rest.get(f"/api/v1/prompt-versions/{used.pk}/").json()["performance_metrics"]
    assert shown == {TEST_SET: {"<b>@1": found}}
    for html in pages[:2]:
        assert TEST_SET in html
        assert "72.5 %" in html
        assert "62.5 % - 82.5 %" in html
        assert "<b>@1" not in html
    assert TEST_SET not in pages[2]
