"""Verbs of programs and of what they consist of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group

from mlops.errors import Conflict, DomainError, Forbidden, Invalid
from mlops.models import User
from programs.models import Deployment, Module, ModuleConnection, Program, PromptVersion
from programs.selectors import program_spec
from programs.services import (
    ModuleInput,
    add_connection,
    add_module,
    choose_prompt_set,
    create_program,
    delete_program,
    new_version,
    remove_connection,
    remove_module,
    set_prompt,
    update_module,
    update_program,
)
from programs.types import ConnectionSpec, ModuleKind
from tests.factories import make_language_model, make_program, make_signature


def two_steps(erin: User, **fields: Any) -> Program:
    return create_program(
        actor=erin,
        name="triage",
        modules=[
            ModuleInput(key="classify", signature=make_signature("message: str -> intent: str")),
            ModuleInput(key="reply", kind="chain_of_thought", signature=make_signature("topic: str -> answer: str")),
        ],
        connections=[ConnectionSpec("classify", "intent", "reply", "topic")],
        **fields,
    )


def test_a_program_is_created_whole(erin: User) -> None:
    program = two_steps(erin, description="Sorts mail.", config={"adapter": "json", "outputs": ["answer"]})

    spec = program_spec(Program.objects.get())
    assert (program.version, program.status, spec.adapter, spec.outputs) == (1, "draft", "json", ("answer",))
    assert [(module.key, module.kind) for module in spec.modules] == [
        ("classify", ModuleKind.PREDICT),
        ("reply", ModuleKind.CHAIN_OF_THOUGHT),
    ]
    assert spec.connections == (ConnectionSpec("classify", "intent", "reply", "topic"),)
    assert program.history.get().history_user == erin


def test_a_broken_part_leaves_nothing_behind(erin: User) -> None:
    modules = [ModuleInput(key="ok", signature=make_signature()), ModuleInput(key="ok", signature=make_signature())]

    with pytest.raises(Conflict) as refusal:
        create_program(actor=erin, name="triage", modules=modules)

    assert (refusal.value.code, refusal.value.field) == ("module_key_taken", "modules.1.key")
    assert not Program.objects.exists()
    assert not Program.history.exists()


def test_a_name_is_taken_once(erin: User) -> None:
    make_program(name="triage")

    with pytest.raises(Conflict) as refusal:
        create_program(actor=erin, name="triage")

    assert (refusal.value.code, refusal.value.field) == ("program_exists", "name")


@pytest.mark.parametrize(
    ("config", "field", "code"),
    [
        ({"adaptor": "json"}, "config.adaptor", "unknown_field"),
        ({"adapter": "xml"}, "config.adapter", "invalid_value"),
        ({"capture": True}, "config.capture", "invalid_value"),
        ({"deadline_s": "5"}, "config.deadline_s", "invalid_value"),
        ({"deadline_s": 0}, "config.deadline_s", "invalid_value"),
        ({"outputs": ["a b"]}, "config.outputs.0", "invalid_value"),
        ({"parameters": {"api_base": "http://elsewhere"}}, "config.parameters.api_base", "unknown_field"),
        ({"parameters": {"temperature": 7}}, "config.parameters.temperature", "invalid_value"),
        ({"outputs": ["a\x00"]}, "config.outputs.0", "unstorable_text"),
        ({"deadline_s": float("nan")}, "config.deadline_s", "not_a_number"),
    ],
)
def test_a_config_has_known_keys_of_known_types(erin: User, config: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create_program(actor=erin, name="triage", config=config)

    assert [(problem.field, problem.code) for problem in refusal.value.problems] == [(field, code)]


@pytest.mark.parametrize(
    ("module", "field"),
    [
        (ModuleInput(key="Bad Key", kind="retrieve"), "key"),
        (ModuleInput(key="one", kind="program_of_thought"), "kind"),
        (ModuleInput(key="one", kind="predict"), "signature"),
        (ModuleInput(key="one", kind="retrieve", config={}), "config.corpus"),
        (ModuleInput(key="one", kind="retrieve", config={"corpus": "everything"}), "config.corpus"),
        (ModuleInput(key="one", kind="custom", config={"module": "os.system"}), "config.module"),
        (ModuleInput(key="one", kind="custom", config={"module": "echo"}, position=-1), "position"),
    ],
)
def test_a_module_that_cannot_be_is_refused_with_its_field(erin: User, module: ModuleInput, field: str) -> None:
    program = make_program(modules=[])

    with pytest.raises(Invalid) as refusal:
        add_module(actor=erin, program=program, module=module)

    assert refusal.value.problems[0].field == field
    assert not program.modules.exists()


def test_an_embedding_model_answers_no_module(erin: User) -> None:
    module = make_program().modules.get()

    with pytest.raises(Invalid) as refusal:
        update_module(actor=erin, module=module, language_model=make_language_model(kind="embedding"))

    assert refusal.value.code == "language_model_not_chat"


def test_modules_are_added_changed_and_removed_in_draft(erin: User) -> None:
    program = two_steps(erin)

    added = add_module(actor=erin, program=program, module=ModuleInput(key="third", signature=make_signature()))
    update_module(actor=erin, module=added, key="last", config={"parameters": {"temperature": 0.5}})
    remove_module(actor=erin, module=program.modules.get(key="reply"))

    rows = list(program.modules.values_list("key", "position", "config"))
    assert rows == [("classify", 0, {}), ("last", 2, {"parameters": {"temperature": 0.5}})]
    assert not program.connections.exists()
    current = Program.objects.get()
    assert current.updated_at > program.updated_at
    assert list(current.history.order_by("history_id").values_list("history_change_reason", flat=True)) == [
        "create",
        "add_module",
        "update_module",
        "remove_module",
    ]


def test_a_connection_names_modules_of_the_program_and_feeds_a_field_once(erin: User) -> None:
    program = two_steps(erin)

    for connection, code in (
        (ConnectionSpec("classify", "intent", "reply", "topic"), "connection_exists"),
        (ConnectionSpec("nobody", "intent", "reply", "tone"), "unknown_module"),
        (ConnectionSpec("reply", "answer", "reply", "tone"), "connection_to_itself"),
        (ConnectionSpec("classify", "in tent", "reply", "tone"), "name_invalid"),
    ):
        with pytest.raises(DomainError) as refusal:
            add_connection(actor=erin, program=program, connection=connection)
        assert refusal.value.code == code
    added = add_connection(actor=erin, program=program, connection=ConnectionSpec("reply", "answer", "", "answer"))
    remove_connection(actor=erin, connection=program.connections.get(to_field="topic"))

    assert list(program.connections.all()) == [added]


def _every_change(actor: User, program: Program) -> list[Callable[[], Any]]:
    module = program.modules.get(key="classify")
    connection = program.connections.get()
    return [
        lambda: update_program(actor=actor, program=program, config={"adapter": "json"}),
        lambda: add_module(actor=actor, program=program, module=ModuleInput("new", "custom", config={"module": "m"})),
        lambda: update_module(actor=actor, module=module, position=7),
        lambda: remove_module(actor=actor, module=module),
        lambda: add_connection(actor=actor, program=program, connection=ConnectionSpec("", "a", "reply", "b")),
        lambda: remove_connection(actor=actor, connection=connection),
    ]


def _rows(program: Program) -> list[Any]:
    return [
        program.__class__.objects.values_list("config", "description", "updated_at").get(pk=program.pk),
        list(Module.objects.values_list("key", "position", "config").order_by("id")),
        list(ModuleConnection.objects.values_list("from_field", "to_field")),
        PromptVersion.objects.count(),
    ]


@pytest.mark.parametrize("status", ["testing", "production", "archived"])
def test_content_is_frozen_outside_draft(erin: User, status: str) -> None:
    program = make_program(
        status=status,
        modules=[
            ModuleInput(key="classify", signature=make_signature("message: str -> intent: str")),
            ModuleInput(key="reply", signature=make_signature("topic: str -> answer: str")),
        ],
        connections=[ConnectionSpec("classify", "intent", "reply", "topic")],
    )
    before = _rows(program)

    for change in _every_change(erin, program):
        with pytest.raises(Conflict) as refusal:
            change()
        assert refusal.value.code == "program_frozen"

    assert _rows(program) == before


def test_an_ml_user_may_change_nothing(charlie: User, erin: User) -> None:
    program = two_steps(erin)
    before = _rows(program)
    attempts: list[Callable[[], Any]] = [
        *_every_change(charlie, program),
        lambda: create_program(actor=charlie, name="mine"),
        lambda: new_version(actor=charlie, program=program),
        lambda: delete_program(actor=charlie, program=program),
        lambda: set_prompt(actor=charlie, module=program.modules.get(key="classify"), prompt_template="mine"),
    ]

    for attempt in attempts:
        with pytest.raises(DomainError) as refusal:
            attempt()
        assert refusal.value.code.endswith(("_not_found", "_forbidden"))

    assert _rows(program) == before
    assert Program.objects.count() == 1


def test_what_is_no_content_changes_in_any_state(erin: User) -> None:
    program = make_program(status="production")

    update_program(actor=erin, program=program, description="Sorts mail.", credits_per_execution=2_000_000)

    current = Program.objects.get()
    assert (current.description, current.credits_per_execution) == ("Sorts mail.", 2_000_000)
    with pytest.raises(Invalid):
        update_program(actor=erin, program=program, credits_per_execution=-1)


def test_an_engineer_limits_programs_only_to_groups_of_theirs(erin: User, admin: User, group: Group) -> None:
    program = make_program()

    with pytest.raises(Invalid) as refusal:
        update_program(actor=erin, program=program, group=group)
    assert refusal.value.code == "unknown_group"
    assert update_program(actor=admin, program=program, group=group).group == group


def test_the_next_version_copies_content_and_active_prompts(erin: User) -> None:
    program = two_steps(erin, config={"adapter": "json"}, description="Sorts mail.")
    set_prompt(actor=erin, module=program.modules.get(key="classify"), prompt_template="Mine.", demos=[{"intent": "a"}])

    following = new_version(actor=erin, program=program)

    assert (following.name, following.version, following.status) == ("triage", 2, "draft")
    assert (following.description, following.config) == ("Sorts mail.", {"adapter": "json"})
    original, copied = program_spec(program), program_spec(following)
    assert (copied.modules, copied.connections) == (original.modules, original.connections)
    prompts = PromptVersion.objects.filter(module__program=following)
    assert [(row.module.key, row.version, row.prompt_template, row.demos) for row in prompts] == [
        ("classify", "2", "Mine.", [{"intent": "a"}])
    ]
    assert new_version(actor=erin, program=program).version == 3


def test_drafts_that_nothing_refers_to_are_deleted(erin: User) -> None:
    program = two_steps(erin)
    choose_prompt_set(program)

    delete_program(actor=erin, program=program)

    assert not Program.objects.exists()
    assert not PromptVersion.objects.exists()
    record = Program.history.filter(history_type="-").get()
    assert (record.history_user, record.history_change_reason) == (erin, "delete")


@pytest.mark.parametrize("status", ["testing", "production", "archived"])
def test_what_has_left_draft_is_not_deleted(erin: User, status: str) -> None:
    program = make_program(status=status)

    with pytest.raises(Conflict) as refusal:
        delete_program(actor=erin, program=program)

    assert refusal.value.code == "program_in_use"
    assert Program.objects.filter(pk=program.pk).exists()


def test_a_draft_that_something_refers_to_is_not_deleted(erin: User) -> None:
    program = make_program()
    Deployment.objects.create(program=program)

    with pytest.raises(Conflict) as refusal:
        delete_program(actor=erin, program=program)

    assert refusal.value.code == "program_in_use"
    assert program.modules.exists()


def test_nobody_creates_for_a_deactivated_account(erin: User) -> None:
    erin.is_active = False

    with pytest.raises(Forbidden):
        create_program(actor=erin, name="triage")
