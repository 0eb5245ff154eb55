"""The pages of programs: they open, and what they write goes through the services."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from mlops.models import User
from programs.models import Deployment, Module, Program, PromptVersion, Signature, SignatureField
from programs.services import ModuleInput, choose_prompt_set, create_prompt_version
from programs.types import ConnectionSpec
from tests.factories import make_default_language_model, make_program, make_signature

SUBMIT = {"_form_submitted": "true"}


@pytest.fixture
def browser(erin: User) -> Client:
    client = Client()
    client.force_login(erin)
    return client


def page(model: str, verb: str, *args: object) -> str:
    return reverse(f"admin:programs_{model}_{verb}", args=args)


def press(client: Client, row: Program | PromptVersion | Signature, name: str, **data: str) -> Any:
    model = row._meta.model_name
    return client.post(reverse(f"admin:programs_{model}_{name}", args=[row.pk]), SUBMIT | data)


def two_steps(**fields: Any) -> Program:
    return make_program(
        name="triage",
        modules=[
            ModuleInput(key="classify", signature=make_signature("message -> intent")),
            ModuleInput(key="reply", signature=make_signature("topic -> answer")),
        ],
        connections=[ConnectionSpec("classify", "intent", "reply", "topic")],
        **fields,
    )


def form_of(client: Client, address: str) -> dict[str, Any]:
    """What a browser would send back unchanged."""
    context = client.get(address).context
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    data: dict[str, Any] = {}
    for form in forms:
        for field in form:
            value = field.value()
            data[field.html_name] = "" if value is None or value is False else value
    return data


@pytest.mark.parametrize("status", ["draft", "testing", "production", "archived"])
def test_every_list_and_page_opens(browser: Client, status: str) -> None:
    program = two_steps(status=status)
    prompt_set = choose_prompt_set(program)
    rows = {
        "program": program,
        "signature": Signature.objects.earliest("id"),
        "promptversion": PromptVersion.objects.earliest("id"),
        "promptset": prompt_set,
        "deployment": Deployment.objects.first(),
    }

    for model, row in rows.items():
        assert browser.get(page(model, "changelist")).status_code == 200
        if row is not None:
            assert browser.get(page(model, "change", row.pk)).status_code == 200
    for model in ("program", "signature", "promptversion"):
        assert browser.get(page(model, "history", rows[model].pk)).status_code == 200  # type: ignore[union-attr]
    for model in ("program", "signature"):
        assert browser.get(page(model, "add")).status_code == 200
        assert browser.get(page(model, "changelist"), {"q": "tri"}).status_code == 200


def test_an_ml_user_is_not_let_in(charlie: User) -> None:
    client = Client()
    client.force_login(charlie)

    assert client.get(page("program", "changelist")).status_code == 302


def test_a_program_is_made_with_its_modules(browser: Client, erin: User) -> None:
    signature = make_signature("message -> intent")
    data = form_of(browser, page("program", "add")) | {
        "name": "triage",
        "description": "Sorts mail.",
        "config": '{"adapter": "json"}',
        "credits_per_execution": "1.5",
        "modules-TOTAL_FORMS": "1",
        "modules-0-key": "classify",
        "modules-0-kind": "predict",
        "modules-0-signature": str(signature.pk),
        "modules-0-config": "{}",
        "modules-0-position": "0",
    }

    response = browser.post(page("program", "add"), data)

    assert response.status_code == 302, response.context["errors"]
    program = Program.objects.get()
    assert (program.name, program.config, program.credits_per_execution) == ("triage", {"adapter": "json"}, 1_500_000)
    assert [(module.key, module.signature) for module in program.modules.all()] == [("classify", signature)]
    assert program.history.earliest().history_user == erin


def test_modules_and_connections_are_changed_on_the_programs_page(browser: Client) -> None:
    program = two_steps()
    address = page("program", "change", program.pk)
    classify = program.modules.get(key="classify")
    data = form_of(browser, address) | {
        "description": "Sorts mail.",
        "modules-0-kind": "chain_of_thought",
        "connections-TOTAL_FORMS": "2",
        "connections-0-DELETE": "on",
        "connections-1-program": str(program.pk),
        "connections-1-from_module": str(classify.pk),
        "connections-1-from_field": "intent",
        "connections-1-to_module": "",
        "connections-1-to_field": "label",
    }

    response = browser.post(address, data)

    assert response.status_code == 302, response.context["errors"]
    assert Program.objects.get().description == "Sorts mail."
    assert list(program.modules.values_list("key", "kind")) == [("classify", "chain_of_thought"), ("reply", "predict")]
    assert list(program.connections.values_list("to_field", flat=True)) == ["label"]


def test_what_a_service_refuses_is_shown_and_nothing_is_saved(browser: Client) -> None:
    program = two_steps()
    address = page("program", "change", program.pk)
    data = form_of(browser, address) | {"description": "Sorts mail.", "modules-1-config": '{"unknown": 1}'}

    response = browser.post(address, data)

    assert response.status_code == 200
    assert "The config is not valid." in response.content.decode()
    assert Program.objects.get().description == ""
    assert not Module.objects.exclude(config={}).exists()


def test_frozen_content_cannot_be_edited_on_the_page(browser: Client) -> None:
    program = two_steps(status="testing")
    address = page("program", "change", program.pk)

    forged = {"description": "Sorts mail.", "config": '{"adapter": "json"}', "modules-0-key": "mine"}
    browser.post(address, form_of(browser, address) | forged)

    current = Program.objects.get()
    assert (current.description, current.config) == ("Sorts mail.", {})
    assert not current.modules.filter(key="mine").exists()


def test_the_life_cycle_is_buttons(browser: Client, erin: User) -> None:
    make_default_language_model()
    program = two_steps()

    for name, status in (("submit", "testing"), ("deploy", "production"), ("archive", "archived")):
        assert browser.get(reverse(f"admin:programs_program_{name}", args=[program.pk])).status_code == 200
        assert Program.objects.get().status != status
        assert press(browser, program, name, reason="tried").status_code == 302
        assert Program.objects.get().status == status
    assert Deployment.objects.get().reason == "tried"
    press(browser, program, "new_version")
    assert sorted(Program.objects.values_list("version", "status")) == [(1, "archived"), (2, "draft")]


def test_rolling_back_offers_the_archived_versions(browser: Client) -> None:
    make_default_language_model()
    first = two_steps(status="production")
    press(browser, first, "new_version")
    second = Program.objects.get(version=2)
    press(browser, second, "submit")
    press(browser, second, "deploy")

    dialog = browser.get(reverse("admin:programs_program_roll_back", args=[second.pk])).content.decode()
    press(browser, second, "roll_back", to=str(first.pk))

    assert "triage@1" in dialog
    assert dict(Program.objects.values_list("version", "status")) == {1: "production", 2: "archived"}


def test_validating_lists_every_problem(browser: Client) -> None:
    make_default_language_model()
    program = two_steps(config={"outputs": ["nothing", "neither"]})

    response = browser.post(reverse("admin:programs_program_validate", args=[program.pk]), SUBMIT, follow=True)

    words = response.content.decode()
    assert "outputs.0" in words
    assert "outputs.1" in words


def test_a_refused_button_changes_nothing(browser: Client) -> None:
    program = two_steps(config={"outputs": ["nothing"]})

    response = press(browser, program, "submit")

    assert response.status_code == 302
    assert Program.objects.get().status == "draft"


def test_a_signature_is_written_as_shorthand_or_as_fields(browser: Client) -> None:
    add = page("signature", "add")
    browser.post(add, form_of(browser, add) | {"name": "short", "shorthand": "message -> intent"})
    short = Signature.objects.get(name="short")
    assert [field.name for field in short.fields.all()] == ["message", "intent"]

    address = page("signature", "change", short.pk)
    response = browser.post(
        address, form_of(browser, address) | {"fields-1-name": "topic", "instructions": "Be brief."}
    )

    assert response.status_code == 302, response.context["errors"]
    current = Signature.objects.get()
    assert ([field.name for field in current.fields.all()], current.instructions) == (["message", "topic"], "Be brief.")


def test_a_broken_shorthand_is_shown_at_its_field(browser: Client) -> None:
    add = page("signature", "add")

    response = browser.post(add, form_of(browser, add) | {"name": "short", "shorthand": "message -> import os"})

    assert response.status_code == 200
    assert "shorthand" in response.context["adminform"].form.errors
    assert not Signature.objects.exists()


def test_a_frozen_signature_is_read_and_has_a_next_version(browser: Client) -> None:
    two_steps(status="testing")
    frozen = Signature.objects.earliest("id")

    assert browser.post(page("signature", "change", frozen.pk), {"instructions": "mine"}).status_code == 403
    press(browser, frozen, "new_version")

    assert Signature.objects.filter(name=frozen.name).count() == 2


def test_a_prompt_version_is_activated_by_a_button(browser: Client, erin: User) -> None:
    module = two_steps().modules.get(key="classify")
    version = create_prompt_version(actor=erin, module=module, prompt_template="<script>alert(1)</script>")

    shown = browser.get(page("promptversion", "change", version.pk)).content.decode()
    press(browser, version, "activate")

    assert "<script>alert(1)" not in shown
    assert PromptVersion.objects.get(pk=version.pk).traffic_percentage == 100


def test_drafts_are_deleted_and_others_are_not(browser: Client) -> None:
    draft = make_program()
    used = make_program(status="production")

    for program in (draft, used):
        browser.post(page("program", "delete", program.pk), {"post": "yes"})

    assert list(Program.objects.all()) == [used]


def test_a_prompt_is_edited_by_hand_as_its_next_version(browser: Client, erin: User) -> None:
    module = two_steps().modules.get(key="classify")
    name = SignatureField.objects.filter(signature=module.signature).earliest("position").name
    first = create_prompt_version(actor=erin, module=module, prompt_template="Answer.", demos=[{name: "1?"}])
    shown = browser.get(page("promptversion", "change", first.pk)).content.decode()
    address = f"{page('promptversion', 'add')}?source={first.pk}"
    assert f'href="{address}"' in shown
    form = browser.get(address).context["adminform"].form
    assert form.initial["module"] == module.pk
    assert form.initial["prompt_template"] == "Answer."

    given = {"module": str(module.pk), "prompt_template": "Answer briefly.", "demos": json.dumps([{name: "2?"}])}
    answer = browser.post(page("promptversion", "add"), {**given, "activate_now": "on"})

    assert answer.status_code == 302
    edited = PromptVersion.objects.get(prompt_template="Answer briefly.")
    assert (edited.module, edited.demos, edited.traffic_percentage) == (module, [{name: "2?"}], 100)
    first.refresh_from_db()
    assert (first.prompt_template, first.demos) == ("Answer.", [{name: "1?"}])


def test_a_demo_with_a_field_of_nobody_is_refused_in_the_form(browser: Client, erin: User) -> None:
    module = make_program().modules.get()
    given = {"module": str(module.pk), "prompt_template": "", "demos": '[{"colour": "red"}]'}
    answer = browser.post(page("promptversion", "add"), given)
    assert answer.status_code == 200
    assert "The signature has no such field." in answer.content.decode()
    assert not PromptVersion.objects.exists()


@pytest.mark.parametrize("model", ["program", "signature", "promptversion", "promptset", "deployment"])
def test_lists_take_the_same_queries_whatever_their_length(browser: Client, model: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert browser.get(page(model, "changelist")).status_code == 200
        return len(captured)

    choose_prompt_set(make_program(status="production"))
    queries()
    few = queries()
    for _number in range(5):
        choose_prompt_set(make_program(status="production"))

    assert queries() == few
