"""From bodies to what services take: references become rows that the actor may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from mlops.errors import Invalid, NotFound
from mlops.models import User
from programs.models import Program
from programs.selectors import access_language_model, access_program, access_signature
from programs.services import ModuleInput

T = TypeVar("T")


def referred(field: str, access: Callable[..., T], *, actor: User, ref: str) -> T:
    """The row that `field` of a body names; what is missing there is a mistake in the body, not in the address."""
    try:
        return access(actor=actor, ref=ref)
    except NotFound as error:
        raise Invalid(error.code, error.message, field=field) from None


def referred_program(actor: User, ref: str, field: str = "program") -> Program:
    return referred(field, access_program, actor=actor, ref=ref)


def module_arguments(actor: User, given: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The fields of a module, references resolved."""
    ways: dict[str, Callable[..., Any]] = {"signature": access_signature, "language_model": access_language_model}
    resolved = {
        name: referred(f"{path}{name}", access, actor=actor, ref=given[name])
        for name, access in ways.items()
        if given.get(name) is not None
    }
    return {**given, **resolved}


def module_input(actor: User, given: dict[str, Any], path: str = "") -> ModuleInput:
    return ModuleInput(**module_arguments(actor, given, path))


def program_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a program, its group found by name."""
    name = given.get("group")
    if name is None:
        return given
    group = Group.objects.filter(name=name.replace("\x00", "")).first()
    if group is None:
        raise Invalid("unknown_group", _("There is no such group."), field="group")
    return {**given, "group": group}
