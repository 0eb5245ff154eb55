"""What a reference such as `triage@production` means."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from mlops.errors import NotFound
from mlops.models import LanguageModel
from mlops.querysets import Viewer
from mlops.selectors import not_found
from programs.errors import program_not_found, signature_not_found
from programs.models import Program, Signature
from programs.policies import program_policy, signature_policy
from programs.types import ProgramStatus

LABELS = {"production": ProgramStatus.PRODUCTION, "testing": ProgramStatus.TESTING}
LARGEST_VERSION = 2**31 - 1
_VERSION = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)


def resolve_reference(ref: str | UUID) -> Program:
    """The program that `ref` names: a UUID, `name` (its production version), `name@production`, `name@testing`,
    `name@latest` or `name@3`.

    A label that points at nothing is an error, never a fallback. Where several versions carry a label it is the newest.
    Raises `NotFound` (`program_not_found`).
    """
    program: Program | None = _candidates(ref).first()
    if program is None:
        raise program_not_found()
    return program


def known_names(actor: Viewer, names: Collection[str]) -> set[str]:
    """Those of the names that are names of programs which `actor` may know of."""
    return set(Program.objects.known_to(actor).filter(name__in=names).values_list("name", flat=True))


def access_program(*, actor: Viewer, ref: str | UUID, action: str | None = "view") -> Program:
    """The program that `ref` names, if `actor` may do `action` to it (None: whoever asks will ask that); one query.

    The reference is resolved before the actor's view is applied: what `name@latest` means does not depend on who asks.
    Raises `NotFound` (`program_not_found`) also for what the actor may not see, and `Forbidden`.
    """
    meant = _candidates(ref).values("pk")[:1]
    program: Program | None = Program.objects.known_to(actor).filter(pk__in=meant).select_related("group").first()
    if program is None:
        raise program_not_found()
    if action is not None:
        program_policy.check(actor, action, program)
    return program


def find_signature(ref: str | UUID) -> QuerySet[Any]:
    """At most one signature: by UUID, by `name@2`, or the newest of a name."""
    identity = _as_uuid(ref)
    if identity is not None:
        return Signature.objects.filter(pk=identity)
    name, version = _split(str(ref), signature_not_found)
    named = Signature.objects.filter(name=name).order_by("-version")
    if version in ("", "latest"):
        return named
    return named.filter(version=_as_version(version, signature_not_found()))


def access_signature(*, actor: Viewer, ref: str | UUID, action: str | None = "view") -> Signature:
    """The signature that `ref` names (UUID, `name`, `name@latest`, `name@2`), if `actor` may do `action` to it (None:
    whoever asks will ask that).

    Raises `NotFound` (`signature_not_found`) and `Forbidden`.
    """
    meant = find_signature(ref).values("pk")[:1]
    signature: Signature | None = (
        Signature.objects.known_to(actor).filter(pk__in=meant).prefetch_related("fields").first()
    )
    if signature is None:
        raise signature_not_found()
    if action is not None:
        signature_policy.check(actor, action, signature)
    return signature


def access_language_model(*, actor: Viewer, ref: str | UUID) -> LanguageModel:
    """The language model that `ref` names, by UUID or by name. Raises `NotFound` (`language_model_not_found`)."""
    identity = _as_uuid(ref)
    by = {"name": str(ref).replace("\x00", "")} if identity is None else {"pk": identity}
    model: LanguageModel | None = LanguageModel.objects.visible_to(actor).filter(**by).first()
    if model is None:
        raise not_found(LanguageModel)
    return model


def _candidates(ref: str | UUID) -> QuerySet[Any]:
    identity = _as_uuid(ref)
    if identity is not None:
        return Program.objects.filter(pk=identity)
    name, label = _split(str(ref), program_not_found)
    named = Program.objects.filter(name=name).order_by("-version")
    if label == "latest":
        return named
    status = LABELS.get(label or "production")
    if status is not None:
        return named.filter(status=status)
    return named.filter(version=_as_version(label, program_not_found()))


def _split(ref: str, missing: Any) -> tuple[str, str]:
    name, at, label = ref.partition("@")
    if not name or "\x00" in ref or (at and not label):
        raise missing()
    return name, label


def _as_version(label: str, missing: NotFound) -> int:
    if not _VERSION.fullmatch(label) or int(label) > LARGEST_VERSION:
        raise missing
    return int(label)


def _as_uuid(ref: str | UUID) -> UUID | None:
    try:
        return ref if isinstance(ref, UUID) else UUID(ref)
    except ValueError:
        return None
