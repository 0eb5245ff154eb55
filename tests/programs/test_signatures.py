"""Verbs of signatures."""

from __future__ import annotations

import pytest

from mlops.errors import Conflict, DomainError, Forbidden, Invalid
from mlops.models import User
from programs.models import Program, PromptVersion, Signature
from programs.services import (
    ModuleInput,
    choose_prompt_set,
    create_signature,
    delete_signature,
    new_signature_version,
    set_prompt,
    update_signature,
)
from programs.types import FieldSpec, FieldType
from tests.factories import make_program, make_signature


def test_shorthand_becomes_typed_fields(erin: User) -> None:
    signature = create_signature(
        actor=erin, name="triage", shorthand="message: str, tags: list[str]? -> urgency: enum[low, high]"
    )

    assert signature.as_spec().fields == (
        FieldSpec("message"),
        FieldSpec("tags", is_list=True, required=False),
        FieldSpec("urgency", FieldType.ENUM, is_input=False, choices=("low", "high")),
    )
    assert signature.history.latest().history_change_reason == "create"


def test_given_fields_are_kept_with_their_constraints(erin: User) -> None:
    fields = [FieldSpec("age", FieldType.INTEGER, constraints={"ge": 0}), FieldSpec("group", is_input=False)]

    signature = create_signature(actor=erin, name="groups", fields=fields, instructions="Say which.")

    assert signature.as_spec().fields == tuple(fields)


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        ({"name": "Bad Name", "shorthand": "a -> b"}, "name_invalid", "name"),
        ({"name": "s", "shorthand": "__import__('os') -> b"}, "shorthand_invalid", "shorthand"),
        ({"name": "s", "shorthand": "a -> b\x00"}, "unstorable_text", "shorthand"),
        ({"name": "s", "shorthand": "a -> b", "instructions": "\ud800"}, "signature_invalid", "instructions"),
        ({"name": "s", "fields": [FieldSpec("a")]}, "signature_invalid", "fields"),
        ({"name": "s", "fields": [FieldSpec("lm"), FieldSpec("b", is_input=False)]}, "signature_invalid", "fields.lm"),
        (
            {"name": "s", "fields": [FieldSpec("a", description="\x00"), FieldSpec("b", is_input=False)]},
            "unstorable_text",
            "fields.a.0",
        ),
        ({"name": "s", "shorthand": "a -> b", "fields": [FieldSpec("a")]}, "signature_invalid", "shorthand"),
    ],
)
def test_what_no_signature_may_be_is_refused(erin: User, arguments: dict[str, object], code: str, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create_signature(actor=erin, **arguments)  # type: ignore[arg-type]

    assert (refusal.value.code, refusal.value.problems[0].field) == (code, field)
    assert not Signature.objects.exists()


def test_a_name_is_taken_once(erin: User) -> None:
    make_signature(name="triage")

    with pytest.raises(Conflict) as refusal:
        create_signature(actor=erin, name="triage", shorthand="a -> b")

    assert refusal.value.code == "signature_exists"


def test_an_ml_user_may_not_write(charlie: User) -> None:
    signature = make_signature()

    for attempt in (
        lambda: create_signature(actor=charlie, name="mine", shorthand="a -> b"),
        lambda: update_signature(actor=charlie, signature=signature, instructions="mine"),
        lambda: new_signature_version(actor=charlie, signature=signature),
        lambda: delete_signature(actor=charlie, signature=signature),
    ):
        with pytest.raises(Forbidden):
            attempt()
    assert [(row.pk, row.instructions) for row in Signature.objects.all()] == [(signature.pk, "")]


def test_changing_a_signature_touches_the_programs_that_use_it(erin: User) -> None:
    signature = make_signature()
    program = make_program(modules=[ModuleInput(key="classify", signature=signature)])

    update_signature(actor=erin, signature=signature, shorthand="message: str -> topic: str")

    assert [field.name for field in Signature.objects.get().fields.all()] == ["message", "topic"]
    assert Program.objects.get().updated_at > program.updated_at


def test_prompts_that_are_the_signatures_own_follow_it(erin: User) -> None:
    signature = make_signature(instructions="Old words.")
    program = make_program(modules=[ModuleInput(key="classify", signature=signature)])
    choose_prompt_set(program)

    update_signature(actor=erin, signature=signature, instructions="New words.")

    assert list(
        PromptVersion.objects.order_by("id").values_list("version", "prompt_template", "traffic_percentage")
    ) == [
        ("1", "Old words.", 0),
        ("2", "New words.", 100),
    ]


def test_prompts_that_somebody_wrote_stay(erin: User) -> None:
    signature = make_signature(instructions="Old words.")
    program = make_program(modules=[ModuleInput(key="classify", signature=signature)])
    mine = set_prompt(actor=erin, module=program.modules.get(), prompt_template="My words.")

    update_signature(actor=erin, signature=signature, instructions="New words.")

    assert list(PromptVersion.objects.filter(traffic_percentage=100)) == [mine]


def test_a_frozen_signature_refuses_changes_and_has_a_next_version(erin: User) -> None:
    program = make_program(status="testing")
    frozen = Signature.objects.get(modules__program=program)

    with pytest.raises(Conflict) as refusal:
        update_signature(actor=erin, signature=frozen, instructions="other")
    following = new_signature_version(actor=erin, signature=frozen, instructions="other")

    assert refusal.value.code == "signature_frozen"
    assert Signature.objects.get(pk=frozen.pk).instructions == ""
    assert (following.name, following.version, following.instructions) == (frozen.name, frozen.version + 1, "other")
    assert following.as_spec().fields == frozen.as_spec().fields
    assert following.frozen_at is None


def test_a_signature_in_use_cannot_be_deleted(erin: User) -> None:
    used = make_signature()
    make_program(modules=[ModuleInput(key="classify", signature=used)])
    unused = make_signature()

    delete_signature(actor=erin, signature=unused)
    with pytest.raises(Conflict) as refusal:
        delete_signature(actor=erin, signature=used)

    assert refusal.value.code == "signature_in_use"
    assert list(Signature.objects.all()) == [used]


def test_deleting_twice_says_that_it_has_gone(erin: User) -> None:
    signature = make_signature()
    delete_signature(actor=erin, signature=Signature.objects.get(pk=signature.pk))

    with pytest.raises(DomainError) as refusal:
        delete_signature(actor=erin, signature=signature)

    assert refusal.value.code == "signature_not_found"
