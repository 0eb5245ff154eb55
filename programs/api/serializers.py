"""Shapes of programs and their parts as they are read."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from mlops.api.serializers import RecordSerializer, credits_field
from mlops.money import as_decimal
from mlops.policies import engineers
from mlops.types import PICO_PER_USD
from programs.models import (
    Deployment,
    Module,
    ModuleConnection,
    Program,
    PromptSet,
    PromptVersion,
    Signature,
    SignatureField,
)

TIMES = ("created_at", "updated_at")


class SignatureFieldSerializer(RecordSerializer):
    class Meta:
        model = SignatureField
        fields: tuple[str, ...] = (
            "name",
            "is_input",
            "type",
            "is_list",
            "description",
            "required",
            "has_default",
            "default",
            "choices",
            "schema",
            "constraints",
        )
        read_only_fields = fields


class SignatureRowSerializer(RecordSerializer):
    class Meta:
        model = Signature
        fields: tuple[str, ...] = ("id", "name", "version", "frozen_at", *TIMES)
        read_only_fields = fields


class SignatureSerializer(RecordSerializer):
    class Meta:
        model = Signature
        fields: tuple[str, ...] = ("id", "name", "version", "instructions", "frozen_at", *TIMES)
        read_only_fields = fields

    def get_fields(self) -> dict[str, Any]:
        """With `fields`, which cannot be declared: a serializer has an attribute of that name."""
        return {**super().get_fields(), "fields": SignatureFieldSerializer(many=True, read_only=True)}


class ModuleSerializer(RecordSerializer):
    program = serializers.UUIDField(source="program_id", read_only=True)
    signature = serializers.UUIDField(source="signature_id", read_only=True, allow_null=True)
    language_model = serializers.UUIDField(source="language_model_id", read_only=True, allow_null=True)

    class Meta:
        model = Module
        fields: tuple[str, ...] = (
            "id",
            "program",
            "key",
            "kind",
            "signature",
            "config",
            "position",
            "language_model",
            *TIMES,
        )
        read_only_fields = fields


class ConnectionSerializer(RecordSerializer):
    """Modules by their key; empty is the program's own boundary."""

    program = serializers.UUIDField(source="program_id", read_only=True)
    from_module = serializers.CharField(source="from_module.key", default="", read_only=True)
    to_module = serializers.CharField(source="to_module.key", default="", read_only=True)

    class Meta:
        model = ModuleConnection
        fields: tuple[str, ...] = ("id", "program", "from_module", "from_field", "to_module", "to_field", *TIMES)
        read_only_fields = fields


class ProgramRowSerializer(RecordSerializer):
    group = serializers.CharField(source="group.name", default=None, read_only=True, allow_null=True)
    credits_per_execution = credits_field(read_only=True, allow_null=True)
    monthly_cost_usd = serializers.SerializerMethodField(
        help_text="Of the last 30 days, for everybody; null for whom only their own usage concerns."
    )

    class Meta:
        model = Program
        fields: tuple[str, ...] = (
            "id",
            "name",
            "version",
            "description",
            "status",
            "traffic_percentage",
            "credits_per_execution",
            "monthly_cost_usd",
            "group",
            *TIMES,
        )
        read_only_fields = fields

    def get_monthly_cost_usd(self, program: Program) -> str | None:
        knows = engineers(self.context["request"].user, program)
        return as_decimal(program.monthly_cost, PICO_PER_USD) if knows else None


class ProgramSerializer(ProgramRowSerializer):
    modules = ModuleSerializer(many=True, read_only=True)
    connections = ConnectionSerializer(many=True, read_only=True)

    class Meta(ProgramRowSerializer.Meta):
        fields = (*ProgramRowSerializer.Meta.fields, "config", "metrics", "modules", "connections")
        read_only_fields = fields


class PromptVersionRowSerializer(RecordSerializer):
    module = serializers.UUIDField(source="module_id", read_only=True)

    class Meta:
        model = PromptVersion
        fields: tuple[str, ...] = (
            "id",
            "module",
            "version",
            "traffic_percentage",
            "performance_metrics",
            "source_kind",
            "source_id",
            *TIMES,
        )
        read_only_fields = fields


class PromptVersionSerializer(PromptVersionRowSerializer):
    class Meta(PromptVersionRowSerializer.Meta):
        fields = (*PromptVersionRowSerializer.Meta.fields, "prompt_template", "demos")
        read_only_fields = fields


class PromptSetSerializer(RecordSerializer):
    program = serializers.UUIDField(source="program_id", read_only=True)

    class Meta:
        model = PromptSet
        fields: tuple[str, ...] = ("id", "program", "digest", "versions", "created_at")
        read_only_fields = fields


class DeploymentSerializer(RecordSerializer):
    program = serializers.UUIDField(source="program_id", read_only=True)
    replaced = serializers.UUIDField(source="replaced_id", read_only=True, allow_null=True)
    user = serializers.UUIDField(source="user_id", read_only=True, allow_null=True)

    class Meta:
        model = Deployment
        fields: tuple[str, ...] = ("id", "program", "replaced", "user", "reason", "created_at")
        read_only_fields = fields
