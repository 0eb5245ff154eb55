"""One timeline per program: edits, deployments, roll-backs and compile jobs of all its versions."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from datasets.services import create_dataset
from executions.services.metrics import create_metric
from mlops.models import User
from mlops.origin import Edge, Origin, acting
from mlops.selectors.history import deletions
from mlops.services.history import operator
from optimizations.models import Optimization
from programs.models import Module, Program, PromptVersion
from programs.selectors import timeline
from programs.services import (
    choose_prompt_set,
    create_prompt_version,
    delete_program,
    deploy_program,
    new_version,
    remove_module,
    roll_back_program,
    submit_program,
    update_module,
    update_program,
)
from tests.factories import make_program, make_user

pytestmark = pytest.mark.django_db


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def program(erin: User) -> Program:
    """Version 2 was deployed over version 1 and rolled back."""
    first = make_program(name="triage", status="production")
    second = new_version(actor=erin, program=first)
    submit_program(actor=erin, program=second)
    with acting(Origin(Edge.REST, "release-7")):
        deploy_program(actor=erin, program=second, reason="better recall")
    return roll_back_program(actor=erin, program=second, reason="worse tone")


def told(user: User, program: Program) -> list[tuple[str, str, str]]:
    return [(event.kind, event.verb, event.title) for event in timeline(actor=user, program=program, size=200)]


def test_versions_share_one_timeline_the_latest_first(program: Program, erin: User) -> None:
    assert told(erin, program)[:8] == [
        ("roll_back", "roll_back", "triage@1"),
        ("edit", "archive", "triage@2"),
        ("deployment", "deploy", "triage@2"),
        ("edit", "archive", "triage@1"),
        ("edit", "submit", "triage@2"),
        ("edit", "new_version", "classify"),
        ("edit", "new_version", "triage@2"),
        ("deployment", "deploy", "triage@1"),
    ]


def test_a_deployment_tells_who_why_and_through_which_edge(program: Program, erin: User) -> None:
    events = {event.title: event for event in timeline(actor=erin, program=program) if event.kind == "deployment"}
    event = events["triage@2"]
    assert (event.user, event.note, event.result) == ("erin", "better recall", "replaced triage@1")
    assert (event.source, event.request_id, event.version) == ("rest", "release-7", 2)


def test_an_edit_names_what_it_changed(program: Program, erin: User) -> None:
    update_program(actor=erin, program=program, description="Sorts messages.")
    latest = timeline(actor=erin, program=program, size=1)[0]
    assert (latest.verb, latest.fields, latest.version) == ("update", ("description",), 1)


def test_prompts_and_parts_that_are_gone_stay_in_it(erin: User) -> None:
    program = make_program(name="draft")
    module = program.modules.get()
    create_prompt_version(actor=erin, module=module, prompt_template="Be brief.")  # its first is the signature's own
    assert told(erin, program)[0][2] == "classify 2"
    module.prompt_versions.all().delete()
    remove_module(actor=erin, module=module)
    assert ("edit", "remove", "classify") in told(erin, program)[:2]
    assert ("edit", "create", "classify 2") in told(erin, program)


def test_versions_that_have_been_deleted_stay_in_it_with_who_deleted_them(program: Program, erin: User) -> None:
    draft = new_version(actor=erin, program=program)
    part = draft.modules.get()
    create_prompt_version(actor=erin, module=part, prompt_template="Be brief.")
    delete_program(actor=erin, program=draft)

    events = timeline(actor=erin, program=program, size=200)
    gone = [event for event in events if event.verb == "delete"]

    assert {(event.record, event.title) for event in gone} == {
        ("program", "triage@3"),
        ("module", "classify"),
        *(("promptversion", f"classify {number}") for number in (1, 2)),
    }
    assert {(event.user, event.version) for event in gone} == {("erin", 3)}
    assert part.pk in {event.record_id for event in gone}


def test_deleted_versions_are_told_to_those_who_could_see_them(program: Program, erin: User, admin: User) -> None:
    other = make_user("ml_engineer")
    group = Group.objects.create(name="insiders")
    group.user_set.add(erin)
    draft = new_version(actor=erin, program=program)
    update_program(actor=erin, program=draft, group=group)
    create_prompt_version(actor=erin, module=draft.modules.get(), prompt_template="Be brief.")
    delete_program(actor=erin, program=draft)

    told_to = {user.username: ("edit", "delete", "triage@3") in told(user, program) for user in (erin, admin, other)}

    assert told_to == {"erin": True, "admin": True, other.username: False}
    assert "classify" not in {event.title for event in timeline(actor=other, program=program) if event.version == 3}
    deleted = {user: set(deletions(Module, user).values_list("program_id", flat=True)) for user in (erin, other)}
    assert deleted == {erin: {draft.pk}, other: set()}
    assert [deletions(PromptVersion, user).count() for user in (erin, other)] == [2, 0]


def test_compile_jobs_are_part_of_it(program: Program, erin: User) -> None:
    dataset = create_dataset(actor=erin, name="mail", type="training", examples=[{"message": "a", "intent": "b"}])
    metric = create_metric(actor=erin, name="right", kind="exact_match", config={"field": "intent"})
    prompts = choose_prompt_set(program, "")
    job = Optimization.objects.create(
        program=program, prompt_set=prompts, dataset=dataset, metric=metric, optimizer="COPRO", user=erin
    )
    latest = timeline(actor=erin, program=program, size=1)[0]
    assert (latest.kind, latest.record_id, latest.result) == ("optimization", job.pk, job.state)


def test_pages_meet_without_gap_or_overlap(program: Program, erin: User) -> None:
    whole = timeline(actor=erin, program=program, size=200)
    walked, before = [], None
    while page := timeline(actor=erin, program=program, before=before, size=3):
        walked += page
        before = page[-1].key
    assert [event.id for event in walked] == [event.id for event in whole]


def test_events_of_one_moment_are_all_told(program: Program, erin: User) -> None:
    for number in range(9):
        update_program(actor=erin, program=program, description=f"{number}")
    Program.history.update(history_date=timezone.now())
    whole = [event.id for event in timeline(actor=erin, program=program, size=200)]
    walked: list[str] = []
    before = None
    while page := timeline(actor=erin, program=program, before=before, size=1):
        walked += [event.id for event in page]
        before = page[-1].key
    assert walked == whole


def test_a_module_is_called_by_its_last_key_whatever_it_was(erin: User) -> None:
    program = make_program(name="draft")
    module = program.modules.get()
    create_prompt_version(actor=erin, module=module, prompt_template="Be brief.")
    for key in ("sort", "classify", "judge"):
        update_module(actor=erin, module=module, key=key)
    assert ("edit", "create", "judge 2") in told(erin, program)


def test_it_asks_as_often_for_many_events_as_for_few(
    program: Program, erin: User, django_assert_max_num_queries: object
) -> None:
    for number in range(20):
        update_program(actor=erin, program=program, description=f"{number}")
    with django_assert_max_num_queries(20):  # type: ignore[operator]  # pytest-django's fixture
        timeline(actor=erin, program=program, size=200)


def test_over_rest(program: Program, erin: User) -> None:
    first = client_of(erin).get("/api/v1/programs/triage/timeline/", {"page_size": 2}).json()
    assert [event["verb"] for event in first["results"]] == ["roll_back", "archive"]
    second = client_of(erin).get(first["next"]).json()
    assert [event["verb"] for event in second["results"]] == ["deploy", "archive"]


END_OF_THE_CALENDAR = "WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTIzOjU5IiwgImEiXQ"


@pytest.mark.parametrize(
    "cursor",
    ["x", "bnVsbA", "WyJub3ciLCAiYSJd", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwgImEiXQ", "é", END_OF_THE_CALENDAR],
)
def test_a_cursor_of_another_list_is_refused(program: Program, erin: User, cursor: str) -> None:
    answer = client_of(erin).get("/api/v1/programs/triage/timeline/", {"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_invalid")


def test_it_is_for_engineers_inside_the_group(program: Program, alice: User, erin: User) -> None:
    answer = client_of(alice).get("/api/v1/programs/triage/timeline/")
    assert (answer.status_code, answer.json()["code"]) == (403, "history_view_forbidden")
    update_program(actor=operator(), program=program, group=Group.objects.create(name="closed"))
    assert client_of(erin).get(f"/api/v1/programs/{program.pk}/timeline/").status_code == 404
    assert all(event.version != 1 for event in timeline(actor=erin, program=program) if event.version)


def test_on_the_page_of_the_program_and_on_its_own(program: Program, erin: User, client: Client) -> None:
    client.force_login(erin)
    page = client.get(f"/admin/programs/program/{program.pk}/change/").content.decode()
    assert "better recall" in page
    own = client.get(f"/admin/programs/program/{program.pk}/timeline/").content.decode()
    assert "<strong>roll_back</strong>" in own
    for before in ("soon", "2026-01-01", "2999-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59"):
        assert client.get(f"/admin/programs/program/{program.pk}/timeline/", {"before": before}).status_code == 200
