"""Shapes of what is written, and how they become what the services take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphene
from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from mlops.errors import Invalid
from mlops.graphql.scalars import JSON, Decimal, JSONObject, units_of
from mlops.graphql.verbs import Reference
from mlops.types import MICRO_PER_CREDIT
from programs.models.programs import KIND_CHOICES
from programs.models.signatures import FIELD_TYPE_CHOICES
from programs.selectors import access_language_model, access_signature
from programs.services import ModuleInput
from programs.types import ConnectionSpec, FieldSpec, FieldType

SIGNATURE = Reference(access_signature, required=False)
LANGUAGE_MODEL = Reference(access_language_model, required=False, description="An id or a name.")
KINDS = ", ".join(value for value, _label in KIND_CHOICES)
TYPES = ", ".join(value for value, _label in FIELD_TYPE_CHOICES)

MODULE = {
    "key": graphene.String(),
    "kind": graphene.String(description=f"One of {KINDS}."),
    "signature": SIGNATURE.input,
    "config": JSONObject(),
    "position": graphene.Int(),
    "language_model": LANGUAGE_MODEL.input,
}


class FieldInput(graphene.InputObjectType):  # type: ignore[misc]  # graphene has no types
    """A typed input or output of a signature."""

    name = graphene.String(required=True)
    is_input = graphene.Boolean(default_value=True)
    type = graphene.String(default_value=FieldType.STRING.value, description=f"One of {TYPES}.")
    is_list = graphene.Boolean(default_value=False)
    description = graphene.String(default_value="")
    required = graphene.Boolean(default_value=True)
    has_default = graphene.Boolean(description="True where `default` is given.")
    default = JSON()
    choices = graphene.List(graphene.NonNull(graphene.String))
    schema = JSONObject()
    constraints = JSONObject()


class ModuleInputType(graphene.InputObjectType):  # type: ignore[misc]  # graphene has no types
    """A module of a program that is made."""

    class Meta:
        name = "NewModuleInput"

    key = graphene.String(required=True)
    kind = MODULE["kind"]
    signature = MODULE["signature"]
    config = MODULE["config"]
    position = MODULE["position"]
    language_model = MODULE["language_model"]


class ConnectionInput(graphene.InputObjectType):  # type: ignore[misc]  # graphene has no types
    """Modules by their key; empty is the program's own boundary."""

    from_module = graphene.String(default_value="")
    from_field = graphene.String(required=True)
    to_module = graphene.String(default_value="")
    to_field = graphene.String(required=True)


def field_specs(given: Any) -> list[FieldSpec]:
    """Raises `Invalid` (`invalid_choice`) for a type that there is none of."""
    return [_field_spec(dict(one), f"fields.{position}") for position, one in enumerate(given)]


def _field_spec(given: dict[str, Any], path: str) -> FieldSpec:
    if given["type"] not in list(FieldType):
        raise Invalid("invalid_choice", _("One of %(known)s.") % {"known": TYPES}, field=f"{path}.type")
    has_default = given.pop("has_default", "default" in given)
    return FieldSpec(
        **{
            **given,
            "type": FieldType(given["type"]),
            "choices": tuple(given.get("choices") or ()),
            "constraints": given.get("constraints") or {},
            "has_default": has_default,
            "default": given.get("default") if has_default else None,
        }
    )


def module_arguments(actor: Any, given: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The fields of a module, references resolved."""
    rows = {
        name: reference.row_of(actor, given[name], f"{path}{name}")
        for name, reference in (("signature", SIGNATURE), ("language_model", LANGUAGE_MODEL))
        if name in given
    }
    return {**given, **rows}


def module_inputs(actor: Any, given: Any) -> list[ModuleInput]:
    return [ModuleInput(**module_arguments(actor, one, f"modules.{position}.")) for position, one in enumerate(given)]


def connection_specs(given: Any) -> list[ConnectionSpec]:
    return [ConnectionSpec(**one) for one in given]


def program_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a program: its group by name, credits in micro-credits."""
    arguments = dict(given)
    if "credits_per_execution" in given:
        amount = given["credits_per_execution"]
        arguments["credits_per_execution"] = units_of(amount, MICRO_PER_CREDIT, "credits_per_execution")
    if given.get("group") is not None:
        arguments["group"] = Group.objects.filter(name=given["group"].replace("\x00", "")).first()
        if arguments["group"] is None:
            raise Invalid("unknown_group", _("There is no such group."), field="group")
    return arguments


CREDITS = Decimal(description="Fixed charge in credits; without it the cost is charged.")
