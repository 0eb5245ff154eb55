"""Shapes of what is written: types and ranges only, the rules are the services'."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from mlops.api.serializers import StrictSerializer, credits_field
from programs.models.programs import KIND_CHOICES
from programs.models.signatures import FIELD_TYPE_CHOICES
from programs.types import ConnectionSpec, FieldSpec, FieldType

REFERENCE = "By id, by name or by name@version."
PROGRAM_CONFIG = (
    "`adapter` (chat, json), `outputs` (names), `capture` of executions (all, errors, none), `deadline_s`, "
    "`parameters` of the language model, and `deploy_gate`: `metric`, `dataset` (may be left out) and `confidence` "
    "(0.95 unless given) by which a version has to be proven better than the one in production before it is deployed."
)


class EmptyBody(StrictSerializer):
    """A verb without arguments."""


class JSONObject(serializers.DictField):
    """Any JSON object."""


class FieldBody(StrictSerializer):
    name = serializers.CharField(max_length=63)
    is_input = serializers.BooleanField(default=True)
    type = serializers.ChoiceField(choices=FIELD_TYPE_CHOICES, default=FieldType.STRING.value)
    is_list = serializers.BooleanField(default=False)
    description = serializers.CharField(default="", allow_blank=True)
    required = serializers.BooleanField(default=True)  # type: ignore[assignment]  # shadows an attribute of fields
    has_default = serializers.BooleanField(required=False, help_text="True where `default` is given.")
    default = serializers.JSONField(required=False, allow_null=True)
    choices = serializers.ListField(child=serializers.CharField(), default=list)
    schema = JSONObject(default=None, allow_null=True)
    constraints = JSONObject(default=dict)


def field_spec(given: dict[str, Any]) -> FieldSpec:
    """A `FieldBody` as a value; whoever gives a default has one."""
    has_default = given.get("has_default", "default" in given)
    return FieldSpec(
        **{
            **given,
            "type": FieldType(given["type"]),
            "choices": tuple(given["choices"]),
            "has_default": has_default,
            "default": given.get("default") if has_default else None,
        }
    )


class SignatureChangesBody(StrictSerializer):
    instructions = serializers.CharField(required=False, allow_blank=True)
    shorthand = serializers.CharField(
        required=False, help_text="Instead of `fields`, such as: question: str -> answer: str"
    )

    def get_fields(self) -> dict[str, Any]:
        """With `fields`, which cannot be declared: a serializer has an attribute of that name."""
        return {**super().get_fields(), "fields": FieldBody(many=True, required=False)}


class CreateSignatureBody(SignatureChangesBody):
    name = serializers.CharField()


class ModuleChangesBody(StrictSerializer):
    key = serializers.CharField(max_length=63)
    kind = serializers.ChoiceField(choices=KIND_CHOICES, required=False)
    signature = serializers.CharField(required=False, allow_null=True, help_text=REFERENCE)
    config = JSONObject(required=False)
    position = serializers.IntegerField(required=False)
    language_model = serializers.CharField(required=False, allow_null=True, help_text="By id or by name.")


class AddModuleBody(ModuleChangesBody):
    program = serializers.CharField(help_text=REFERENCE)


class ConnectionBody(StrictSerializer):
    """Modules by their key; empty is the program's own boundary."""

    from_module = serializers.CharField(default="", allow_blank=True)
    from_field = serializers.CharField()
    to_module = serializers.CharField(default="", allow_blank=True)
    to_field = serializers.CharField()


class AddConnectionBody(ConnectionBody):
    program = serializers.CharField(help_text=REFERENCE)


def connection_spec(given: dict[str, Any]) -> ConnectionSpec:
    return ConnectionSpec(**given)


class ProgramChangesBody(StrictSerializer):
    description = serializers.CharField(required=False, allow_blank=True)
    config = JSONObject(required=False, help_text=PROGRAM_CONFIG)
    credits_per_execution = credits_field(required=False, allow_null=True)
    group = serializers.CharField(required=False, allow_null=True, help_text="Name of a group.")


class CreateProgramBody(ProgramChangesBody):
    name = serializers.CharField()
    modules = ModuleChangesBody(many=True, required=False)
    connections = ConnectionBody(many=True, required=False)


class DeployBody(StrictSerializer):
    reason = serializers.CharField(default="", allow_blank=True)


class RollBackBody(DeployBody):
    to = serializers.CharField(
        required=False, help_text="The version to go back to; without it the one that was replaced last. " + REFERENCE
    )


class CreatePromptVersionBody(StrictSerializer):
    module = serializers.UUIDField()
    prompt_template = serializers.CharField(allow_blank=True)
    demos = serializers.ListField(child=JSONObject(), default=list)
    version = serializers.CharField(default="", allow_blank=True, help_text="Counted when left out.")
    activate = serializers.BooleanField(default=False, help_text="Give it all the traffic of its module.")


class ProblemBody(StrictSerializer):
    field = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()


class ValidationBody(StrictSerializer):
    """What keeps a program from being submitted."""

    valid = serializers.BooleanField()
    problems = ProblemBody(many=True)
