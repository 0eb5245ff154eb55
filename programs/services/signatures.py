"""Verbs of signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypedDict, Unpack

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid, all_of
from mlops.models import User
from mlops.sanitiser import refuse_unstorable
from mlops.services.history import delete_with_history, save_with_history
from mlops.services.locking import locked
from mlops.services.reverting import revertible
from mlops.verbs import verb
from programs.errors import signature_frozen, signature_in_use
from programs.models import Module, Program, Signature, SignatureField
from programs.policies import program_policy, signature_policy
from programs.runtime import shorthand as grammar
from programs.runtime.signatures import problems_of_signature
from programs.services.checks import check_name, touch
from programs.services.prompts import follow_signature
from programs.types import FieldSpec, FieldType, SignatureSpec


class SignatureChanges(TypedDict, total=False):
    """What can be changed of a signature; `fields` replaces all of them, `shorthand` is another way to write them."""

    instructions: str
    fields: Sequence[FieldSpec]
    shorthand: str


@verb(signature_policy, "create")
def create_signature(
    *,
    actor: User,
    name: str,
    instructions: str = "",
    fields: Sequence[FieldSpec] = (),
    shorthand: str = "",
) -> Signature:
    """Version 1 of a signature, its fields given or written as `"question: str -> answer: str"`.

    Raises `Forbidden`, `Invalid` (`name_invalid`, `signature_invalid`, what the shorthand's grammar says) and
    `Conflict` (`signature_exists`).
    """
    signature_policy.check(actor, "create")
    check_name(name)
    chosen = _chosen_fields(fields, shorthand)
    _check(SignatureSpec(name, instructions, tuple(chosen)))
    taken = Conflict("signature_exists", _("There is a signature of this name: make a new version."), field="name")
    if Signature.objects.filter(name=name).exists():
        raise taken
    try:
        with transaction.atomic():
            return _save(Signature(name=name, instructions=instructions), chosen, actor=actor, reason="create")
    except IntegrityError:
        raise taken from None


@verb(signature_policy, "change")
def update_signature(*, actor: User, signature: Signature, **changes: Unpack[SignatureChanges]) -> Signature:
    """Change a signature that no frozen program uses. Programs in draft that use it follow at once, and so do their
    modules' prompts as long as those are the signature's own instructions.

    Raises `Forbidden`, `Invalid` (as `create_signature`) and `Conflict` (`signature_frozen`).
    """
    signature_policy.check(actor, "change", signature)
    fields = _changed_fields(changes)
    with transaction.atomic():
        current = locked(signature)
        programs = _locked_programs_of(current)
        for program in programs:
            program_policy.check(actor, "change", program)
        if current.frozen_at is not None:
            raise signature_frozen()
        current.instructions = changes.get("instructions", current.instructions)
        _check(replace(current.as_spec(), fields=tuple(fields)) if fields is not None else current.as_spec())
        if fields is not None:
            current.shape = _shape(fields)
            current.fields.all().delete()
            _save_fields(current, fields)
        save_with_history(current, actor=actor, reason="update", update_fields=["instructions", "shape"])
        for module in Module.objects.filter(signature=current).select_related("signature"):
            follow_signature(module, actor=actor)
        for program in programs:
            touch(program, actor=actor, reason="update_signature")
    return current


@verb(signature_policy, "new_version")
def new_signature_version(*, actor: User, signature: Signature, **changes: Unpack[SignatureChanges]) -> Signature:
    """The next version of a signature: a copy with the changes. Programs keep the version that they name.

    Raises `Forbidden` and `Invalid` (as `create_signature`).
    """
    signature_policy.check(actor, "new_version", signature)
    fields = _changed_fields(changes)
    instructions = changes.get("instructions", signature.instructions)
    with transaction.atomic():
        # The first version stands for the name: whoever holds its lock decides what the next number is.
        named = Signature.objects.filter(name=signature.name).order_by("version")
        list(named.select_for_update()[:1])
        latest: int = named.aggregate(latest=Max("version"))["latest"]
        if fields is None:
            fields = [field.as_spec() for field in signature.fields.all()]
        _check(SignatureSpec(signature.name, instructions, tuple(fields)))
        version = Signature(name=signature.name, version=latest + 1, instructions=instructions)
        return _save(version, fields, actor=actor, reason="new_version")


@verb(signature_policy, "delete")
def delete_signature(*, actor: User, signature: Signature) -> None:
    """Delete a signature that no module uses. Raises `Forbidden` and `Conflict` (`signature_in_use`)."""
    signature_policy.check(actor, "delete", signature)
    with transaction.atomic():
        current = locked(signature, to_delete=True)
        if current.modules.exists():
            raise signature_in_use()
        delete_with_history([current], actor=actor, reason="delete")


def _locked_programs_of(signature: Signature) -> list[Program]:
    """Locked after the signature itself, as every verb does, so that no two verbs wait for each other."""
    ids = Module.objects.filter(signature=signature).values("program")
    return list(Program.objects.filter(pk__in=ids).order_by("id").select_for_update())


def _changed_fields(changes: SignatureChanges) -> Sequence[FieldSpec] | None:
    if not changes.keys() & {"fields", "shorthand"}:
        return None
    return _chosen_fields(changes.get("fields", ()), changes.get("shorthand", ""))


def _chosen_fields(fields: Sequence[FieldSpec], shorthand: str) -> Sequence[FieldSpec]:
    refuse_unstorable(shorthand, "shorthand")
    if fields and shorthand:
        raise Invalid("signature_invalid", _("Give the fields or the shorthand, not both."), field="shorthand")
    return grammar.parse(shorthand) if shorthand else fields


def _check(spec: SignatureSpec) -> None:
    for field in spec.fields:
        refuse_unstorable([field.description, field.default], f"fields.{field.name[:80]}")
    if problems := problems_of_signature(spec):
        placed = [replace(problem, field=_path(problem.field)) for problem in problems]
        raise all_of(placed, code="signature_invalid", message=_("The signature is not valid."))


def _path(field: str) -> str:
    return field if field in ("fields", "instructions") else f"fields.{field}"


def _save(signature: Signature, fields: Sequence[FieldSpec], *, actor: User, reason: str) -> Signature:
    signature.shape = _shape(fields)
    save_with_history(signature, actor=actor, reason=reason)
    _save_fields(signature, fields)
    return signature


def _shape(fields: Sequence[FieldSpec]) -> list[dict[str, Any]]:
    return [asdict(field) for field in fields]


def _fields_of_shape(shape: Sequence[Mapping[str, Any]]) -> list[FieldSpec]:
    return [
        FieldSpec(**{**field, "type": FieldType(field["type"]), "choices": tuple(field["choices"])}) for field in shape
    ]


def _save_fields(signature: Signature, fields: Sequence[FieldSpec]) -> None:
    SignatureField.objects.bulk_create(
        SignatureField(
            signature=signature,
            name=field.name,
            is_input=field.is_input,
            position=position,
            type=field.type.value,
            is_list=field.is_list,
            description=field.description,
            required=field.required,
            has_default=field.has_default,
            default=field.default,
            choices=list(field.choices),
            schema=None if field.schema is None else dict(field.schema),
            constraints=dict(field.constraints),
        )
        for position, field in enumerate(fields)
    )


def _put_back(actor: User, signature: Signature, changes: Mapping[str, Any]) -> Signature:
    wanted: SignatureChanges = {}
    if "instructions" in changes:
        wanted["instructions"] = changes["instructions"]
    if changes.get("shape"):
        wanted["fields"] = _fields_of_shape(changes["shape"])
    return update_signature(actor=actor, signature=signature, **wanted)


revertible(Signature, ("instructions", "shape"), _put_back)
