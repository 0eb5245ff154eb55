"""What programs and their parts were, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from mlops.errors import Conflict
from mlops.models import User
from mlops.selectors.history import difference
from mlops.services.reverting import revert
from programs.models import Signature
from programs.services import submit_program, update_module, update_program, update_signature
from programs.types import FieldType
from tests.factories import make_program, make_signature

pytestmark = pytest.mark.django_db


def states(row: Any) -> list[Any]:
    """The oldest first."""
    return list(row.history.order_by("history_id"))


def test_fields_of_a_signature_are_part_of_what_it_was(erin: User) -> None:
    signature = make_signature("message: str -> intent: str", instructions="Sort.")
    update_signature(actor=erin, signature=signature, shorthand="message: str, tone: str -> intent: str")
    oldest, newest = states(signature)
    [changed] = difference(oldest, newest)
    assert (changed.field, [field["name"] for field in changed.new]) == ("shape", ["message", "tone", "intent"])

    revert(actor=erin, row=signature, state=oldest.history_id)

    back = Signature.objects.get(pk=signature.pk).as_spec()
    assert [(field.name, field.is_input, field.type) for field in back.fields] == [
        ("message", True, FieldType.STRING),
        ("intent", False, FieldType.STRING),
    ]
    assert back.instructions == "Sort."


def test_a_frozen_signature_stays_as_it_is(erin: User) -> None:
    signature = make_signature("message: str -> intent: str")
    update_signature(actor=erin, signature=signature, instructions="Sort.")
    Signature.objects.filter(pk=signature.pk).update(frozen_at="2026-01-01T00:00:00Z")
    with pytest.raises(Conflict) as refused:
        revert(actor=erin, row=signature, state=states(signature)[0].history_id)
    assert refused.value.code == "signature_frozen"
    assert Signature.objects.get(pk=signature.pk).instructions == "Sort."


def test_a_description_comes_back_after_the_content_is_frozen(erin: User) -> None:
    program = make_program(description="Sorts.")
    update_program(actor=erin, program=program, description="Sorts mail.")
    submit_program(actor=erin, program=program)
    back = revert(actor=erin, row=program, state=states(program)[0].history_id)
    assert (back.description, back.status) == ("Sorts.", "testing")


def test_a_module_gets_its_former_signature_back(erin: User) -> None:
    program = make_program()
    module = program.modules.get()
    former = module.signature
    update_module(actor=erin, module=module, signature=make_signature("message: str -> intent: str"))
    assert revert(actor=erin, row=module, state=states(module)[0].history_id).signature == former


def test_what_was_referred_to_may_be_gone(erin: User) -> None:
    program = make_program()
    module = program.modules.get()
    former = module.signature
    update_module(actor=erin, module=module, signature=make_signature("message: str -> intent: str"))
    assert former is not None
    former.delete()
    with pytest.raises(Conflict) as refused:
        revert(actor=erin, row=module, state=states(module)[0].history_id)
    assert (refused.value.code, refused.value.problems[0].field) == ("reference_gone", "signature")
