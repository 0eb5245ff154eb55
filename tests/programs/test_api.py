"""Programs over REST: each endpoint once as it should go and once refused; the rules are tested below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from mlops.models import User
from programs.models import Deployment, Module, Program, PromptVersion, Signature
from programs.services import ModuleInput, choose_prompt_set, new_version, set_prompt
from programs.types import ConnectionSpec
from tests.conftest import api_of
from tests.factories import (
    bring_to,
    make_default_language_model,
    make_language_model,
    make_program,
    make_signature,
)

API = "/api/v1"


@pytest.fixture
def engineer(erin: User) -> APIClient:
    return api_of(erin)


@pytest.fixture
def user(charlie: User) -> APIClient:
    return api_of(charlie)


def refusal(response: Any) -> tuple[int, str, list[str]]:
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    return response.status_code, body["code"], [item["field"] for item in body["errors"]]


def test_a_program_is_created_whole_and_read_back(engineer: APIClient, group: Group, admin: User) -> None:
    make_signature("message -> intent", name="triage")
    model = make_language_model()
    body = {
        "name": "support",
        "description": "Sorts mail.",
        "config": {"adapter": "json"},
        "credits_per_execution": "1.5",
        "group": "support",
        "modules": [
            {"key": "classify", "signature": "triage@1", "language_model": model.name},
            {"key": "own", "kind": "custom", "config": {"module": "echo"}, "signature": "triage"},
        ],
        "connections": [{"from_module": "classify", "from_field": "intent", "to_field": "label"}],
    }

    response = api_of(admin).post(f"{API}/programs/", body)

    assert response.status_code == 201
    row = response.json()
    assert response["Location"].endswith(f"/programs/{row['id']}/")
    assert (row["version"], row["status"], row["credits_per_execution"], row["group"]) == (1, "draft", "1.5", "support")
    assert [(item["key"], item["kind"], item["language_model"]) for item in row["modules"]] == [
        ("classify", "predict", str(model.pk)),
        ("own", "custom", None),
    ]
    assert [(item["from_module"], item["to_module"]) for item in row["connections"]] == [("classify", "")]
    assert api_of(admin).get(f"{API}/programs/support@1/").json() == row


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"name": "triage", "owner": "me"}, 400, "unknown_field", "owner"),
        ({"name": "triage", "status": "production"}, 400, "unknown_field", "status"),
        ({}, 400, "required", "name"),
        ({"name": "Bad"}, 400, "name_invalid", "name"),
        ({"name": "taken"}, 409, "program_exists", "name"),
        ({"name": "triage", "config": []}, 400, "not_a_dict", "config"),
        ({"name": "triage", "config": {"x": 1}}, 400, "config_invalid", "config.x"),
        ({"name": "triage", "group": "nobody"}, 400, "unknown_group", "group"),
        (
            {"name": "triage", "modules": [{"key": "a", "signature": "nothing"}]},
            400,
            "signature_not_found",
            "modules.0.signature",
        ),
        ({"name": "triage", "modules": [{"key": "a"}]}, 400, "signature_required", "modules.0.signature"),
        (
            {"name": "triage", "connections": [{"from_module": "x", "from_field": "a", "to_field": "b"}]},
            400,
            "unknown_module",
            "connections.0.from_module",
        ),
    ],
)
def test_a_program_that_cannot_be_is_refused(
    engineer: APIClient, body: dict[str, Any], status: int, code: str, field: str
) -> None:
    make_program(name="taken")

    assert refusal(engineer.post(f"{API}/programs/", body)) == (status, code, [field])
    assert Program.objects.count() == 1


def test_lists_are_scoped_filtered_searched_and_light(
    engineer: APIClient, user: APIClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_program(name="visible", status="production", description="Sorts mail.")
    for number in range(5):
        make_program(name=f"draft{number}")

    assert [row["name"] for row in user.get(f"{API}/programs/").json()["results"]] == ["visible"]
    rows = engineer.get(f"{API}/programs/", {"status": "draft", "ordering": "-name"}).json()["results"]
    assert [row["name"] for row in rows] == [f"draft{number}" for number in range(4, -1, -1)]
    assert "config" not in rows[0]
    assert len(engineer.get(f"{API}/programs/", {"search": "sorts"}).json()["results"]) == 1
    with django_assert_num_queries(2):  # the rows, and what they cost
        engineer.get(f"{API}/programs/")
    assert refusal(engineer.get(f"{API}/programs/", {"owner": "me"}))[:2] == (400, "unknown_parameter")


def test_a_detail_takes_the_same_queries_whatever_its_size(
    engineer: APIClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    parts = [ModuleInput(key=f"m{number}", signature=make_signature(f"a{number} -> b{number}")) for number in range(9)]
    links = [ConnectionSpec(f"m{number}", f"b{number}", f"m{number + 1}", f"a{number + 1}") for number in range(8)]
    make_program(name="wide", modules=parts, connections=links)
    engineer.get(f"{API}/programs/")  # the token is known from here on

    with django_assert_num_queries(4):
        assert len(engineer.get(f"{API}/programs/wide@1/").json()["connections"]) == 8


def test_an_edit_needs_the_state_that_was_read(engineer: APIClient) -> None:
    make_program(name="triage")
    read = engineer.get(f"{API}/programs/triage@latest/")

    changed = engineer.patch(f"{API}/programs/triage@1/", {"description": "x"}, headers={"If-Match": read["ETag"]})
    late = engineer.patch(f"{API}/programs/triage@1/", {"description": "y"}, headers={"If-Match": read["ETag"]})

    assert (changed.status_code, changed.json()["description"]) == (200, "x")
    assert changed["ETag"] != read["ETag"]
    assert refusal(late)[:2] == (412, "row_changed")
    assert Program.objects.get().description == "x"


def test_the_life_cycle_over_rest(engineer: APIClient) -> None:
    make_default_language_model()
    make_program(name="triage")

    assert engineer.post(f"{API}/programs/triage@1/validate/").json() == {"valid": True, "problems": []}
    assert engineer.post(f"{API}/programs/triage@1/submit/").json()["status"] == "testing"
    assert engineer.post(f"{API}/programs/triage@1/deploy/", {"reason": "first"}).json()["status"] == "production"
    following = engineer.post(f"{API}/programs/triage/new_version/")
    assert (following.status_code, following.json()["version"]) == (201, 2)
    assert engineer.get(following["Location"]).status_code == 200
    engineer.post(f"{API}/programs/triage@2/submit/")
    engineer.post(f"{API}/programs/triage@2/deploy/")
    assert engineer.post(f"{API}/programs/triage/roll_back/", {"to": "triage@1"}).json()["version"] == 1
    assert engineer.post(f"{API}/programs/triage/archive/").json()["status"] == "archived"
    rows = engineer.get(f"{API}/deployments/", {"name": "triage"}).json()["results"]
    assert [row["reason"] for row in rows] == ["", "", "first"]
    assert engineer.get(f"{API}/deployments/{rows[0]['id']}/").json() == rows[0]


@pytest.mark.parametrize(
    ("status", "verb", "code"),
    [
        ("testing", "submit", "program_not_submittable"),
        ("draft", "deploy", "program_not_deployable"),
        ("archived", "archive", "program_not_archivable"),
        ("production", "roll_back", "program_not_rollbackable"),
    ],
)
def test_a_verb_in_the_wrong_state_is_a_conflict(engineer: APIClient, status: str, verb: str, code: str) -> None:
    make_program(name="triage", status=status)

    assert refusal(engineer.post(f"{API}/programs/triage@1/{verb}/"))[:2] == (409, code)


def test_verbs_refuse_unknown_members(engineer: APIClient) -> None:
    make_program(name="triage")

    for verb in ("submit", "deploy", "archive", "new_version", "roll_back", "validate"):
        assert refusal(engineer.post(f"{API}/programs/triage@1/{verb}/", {"force": True})) == (
            400,
            "unknown_field",
            ["force"],
        )
    assert list(Program.objects.values_list("status", flat=True)) == ["draft"]


def test_an_invalid_program_says_all_that_is_wrong(engineer: APIClient) -> None:
    make_default_language_model()
    make_program(name="triage", config={"outputs": ["nothing", "neither"]})

    said = engineer.post(f"{API}/programs/triage@1/validate/").json()
    assert (said["valid"], [problem["field"] for problem in said["problems"]]) == (False, ["outputs.0", "outputs.1"])
    assert refusal(engineer.post(f"{API}/programs/triage@1/submit/")) == (
        400,
        "program_invalid",
        ["outputs.0", "outputs.1"],
    )


def test_drafts_are_deleted_and_others_are_not(engineer: APIClient) -> None:
    make_program(name="draft")
    make_program(name="used", status="production")

    assert engineer.delete(f"{API}/programs/draft@1/").status_code == 204
    assert refusal(engineer.delete(f"{API}/programs/used@1/"))[:2] == (409, "program_in_use")
    assert [row.name for row in Program.objects.all()] == ["used"]


def test_an_ml_user_reads_production_and_changes_nothing(user: APIClient) -> None:
    program = make_program(name="triage", status="production")
    make_program(name="hidden")
    module = program.modules.get()
    attempts: list[Callable[[], Any]] = [
        lambda: user.post(f"{API}/programs/", {"name": "mine"}),
        lambda: user.patch(f"{API}/programs/triage/", {"description": "mine"}),
        lambda: user.delete(f"{API}/programs/triage/"),
        *(
            lambda verb=verb: user.post(f"{API}/programs/triage/{verb}/")
            for verb in ("submit", "deploy", "archive", "new_version", "roll_back", "validate")
        ),
        lambda: user.post(f"{API}/signatures/", {"name": "mine", "shorthand": "a -> b"}),
        lambda: user.post(f"{API}/modules/", {"program": "triage", "key": "x", "kind": "custom"}),
        lambda: user.patch(f"{API}/modules/{module.pk}/", {"position": 3}),
        lambda: user.post(f"{API}/connections/", {"program": "triage", "from_field": "a", "to_field": "b"}),
        lambda: user.post(f"{API}/prompt-versions/", {"module": str(module.pk), "prompt_template": "mine"}),
    ]

    assert user.get(f"{API}/programs/triage/").json()["modules"][0]["key"] == "classify"
    for attempt in attempts:
        status, code, _fields = refusal(attempt())
        assert status == 403, code
    assert refusal(user.get(f"{API}/programs/hidden@1/"))[:2] == (404, "program_not_found")
    assert refusal(user.post(f"{API}/programs/hidden@1/deploy/"))[:2] == (404, "program_not_found")
    assert Program.objects.count() == 2
    assert Module.objects.get(pk=module.pk).position == 0
    assert Deployment.objects.count() == 1
    assert not PromptVersion.objects.exists()


def test_nobody_without_a_token(api: APIClient) -> None:
    for collection in (
        "programs",
        "signatures",
        "modules",
        "connections",
        "prompt-versions",
        "prompt-sets",
        "deployments",
    ):
        assert refusal(api.get(f"{API}/{collection}/"))[0] == 401


def test_signatures_over_rest(engineer: APIClient) -> None:
    created = engineer.post(
        f"{API}/signatures/", {"name": "triage", "shorthand": "message -> urgency: enum[low, high]"}
    )
    assert created.status_code == 201
    fields = created.json()["fields"]
    assert [(item["name"], item["is_input"], item["choices"]) for item in fields] == [
        ("message", True, []),
        ("urgency", False, ["low", "high"]),
    ]

    # What was read can be written again.
    fields[0] |= {"required": False, "default": "nothing"}
    del fields[0]["has_default"]
    changed = engineer.patch(f"{API}/signatures/triage/", {"fields": fields}, headers={"If-Match": created["ETag"]})
    assert changed.status_code == 200, changed.json()
    assert (changed.json()["fields"][0]["default"], changed.json()["fields"][0]["has_default"]) == ("nothing", True)
    following = engineer.post(f"{API}/signatures/triage/new_version/", {"instructions": "Be brief."})
    assert (following.status_code, following.json()["version"], following.json()["fields"]) == (
        201,
        2,
        changed.json()["fields"],
    )
    assert [row["version"] for row in engineer.get(f"{API}/signatures/").json()["results"]] == [2, 1]
    assert engineer.delete(f"{API}/signatures/triage@2/").status_code == 204
    assert [row.version for row in Signature.objects.all()] == [1]


def test_what_a_change_sends_of_a_field_is_sent_whole(engineer: APIClient) -> None:
    engineer.post(f"{API}/signatures/", {"name": "triage", "shorthand": "message -> urgency"})
    part = {"fields": [{"is_input": True}]}
    answer = engineer.patch(f"{API}/signatures/triage/", part)
    assert refusal(answer) == (400, "required", ["fields.0.name"])
    assert [field.name for field in Signature.objects.get().fields.all()] == ["message", "urgency"]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"name": "s", "shorthand": "__import__('os') -> b"}, "shorthand_invalid", "shorthand"),
        ({"name": "s", "fields": [{"name": "lm"}, {"name": "b", "is_input": False}]}, "signature_invalid", "fields.lm"),
        ({"name": "s", "fields": [{"name": "a", "kind": "x"}]}, "unknown_field", "fields.0.kind"),
        ({"name": "s", "fields": [{"name": "a", "type": "bytes"}]}, "invalid_choice", "fields.0.type"),
    ],
)
def test_a_signature_that_cannot_be_is_refused(
    engineer: APIClient, body: dict[str, Any], code: str, field: str
) -> None:
    assert refusal(engineer.post(f"{API}/signatures/", body)) == (400, code, [field])


def test_modules_and_connections_over_rest(engineer: APIClient) -> None:
    program = make_program(name="triage")
    make_signature("topic -> answer", name="reply")

    added = engineer.post(f"{API}/modules/", {"program": "triage@1", "key": "reply", "signature": "reply"})
    assert (added.status_code, added.json()["position"]) == (201, 1)
    address = f"{API}/modules/{added.json()['id']}/"
    assert engineer.patch(address, {"kind": "chain_of_thought"}).json()["kind"] == "chain_of_thought"
    link = {"from_module": "classify", "from_field": "intent", "to_module": "reply", "to_field": "topic"}
    connected = engineer.post(f"{API}/connections/", {"program": str(program.pk), **link})
    assert connected.json() | link == connected.json()
    assert refusal(engineer.post(f"{API}/connections/", {"program": str(program.pk), **link}))[:2] == (
        409,
        "connection_exists",
    )
    assert len(engineer.get(f"{API}/modules/", {"program": str(program.pk)}).json()["results"]) == 2
    assert len(engineer.get(f"{API}/connections/", {"program": str(program.pk)}).json()["results"]) == 1
    assert engineer.delete(f"{API}/connections/{connected.json()['id']}/").status_code == 204
    assert engineer.delete(address).status_code == 204
    assert [module.key for module in program.modules.all()] == ["classify"]
    assert refusal(engineer.get(address))[:2] == (404, "module_not_found")


def test_modules_of_a_frozen_program_are_refused(engineer: APIClient) -> None:
    module = make_program(name="triage", status="testing").modules.get()

    assert refusal(engineer.patch(f"{API}/modules/{module.pk}/", {"position": 4}))[:2] == (409, "program_frozen")
    assert refusal(engineer.delete(f"{API}/modules/{module.pk}/"))[:2] == (409, "program_frozen")
    wrong = {"program": "nothing@1", "key": "x"}
    assert refusal(engineer.post(f"{API}/modules/", wrong)) == (400, "program_not_found", ["program"])


def test_prompt_versions_and_sets_over_rest(engineer: APIClient, erin: User) -> None:
    program = make_program(name="triage", status="production")
    module = program.modules.get()
    body = {"module": str(module.pk), "prompt_template": "Better.", "demos": [{"message": "hi"}]}

    waiting = engineer.post(f"{API}/prompt-versions/", body).json()
    active = engineer.post(f"{API}/prompt-versions/", {**body, "activate": True}).json()
    assert (waiting["version"], waiting["traffic_percentage"]) == ("2", 0)
    assert (active["version"], active["traffic_percentage"]) == ("3", 100)
    again = engineer.post(f"{API}/prompt-versions/{waiting['id']}/activate/").json()
    assert again["traffic_percentage"] == 100
    rows = engineer.get(f"{API}/prompt-versions/", {"program": str(program.pk), "active": "true"}).json()["results"]
    assert [row["version"] for row in rows] == ["2"]
    assert "demos" not in rows[0]
    prompt_set = choose_prompt_set(program)
    assert engineer.get(f"{API}/prompt-sets/{prompt_set.pk}/").json()["versions"] == [waiting["id"]]
    assert refusal(engineer.post(f"{API}/prompt-versions/", {**body, "version": "3"}))[:2] == (
        409,
        "prompt_version_exists",
    )
    assert refusal(engineer.post(f"{API}/prompt-versions/", {**body, "module": str(uuid4())}))[0] == 404
    assert engineer.patch(f"{API}/prompt-versions/{waiting['id']}/", {}).status_code == 405


def test_lists_of_parts_take_the_same_queries_whatever_their_length(
    engineer: APIClient, erin: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(4):
        program = make_program(name=f"program{number}-x", status="production")
        set_prompt(actor=erin, module=program.modules.get(), prompt_template="Mine.")
        choose_prompt_set(program)
        bring_to(new_version(actor=erin, program=program), "production")
    engineer.get(f"{API}/programs/")  # the token is known from here on

    for collection, queries in (
        ("signatures", 1),
        ("modules", 1),
        ("prompt-versions", 1),
        ("prompt-sets", 2),
        ("deployments", 1),
    ):
        with django_assert_num_queries(queries):
            assert len(engineer.get(f"{API}/{collection}/").json()["results"]) >= 4
