"""Shapes of executions and feedback."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from executions.models import Execution, Feedback
from executions.models.executions import MODE_CHOICES, SOURCE_CHOICES, STATE_CHOICES
from executions.representation import in_detail, in_list
from executions.types import Mode
from mlops.api.credits import CreditsSerializer
from mlops.api.serializers import RecordSerializer, StrictSerializer, credits_field


class ProgramReferenceSerializer(StrictSerializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    version = serializers.IntegerField()


class ExecutionErrorSerializer(StrictSerializer):
    code = serializers.CharField()
    message = serializers.CharField()
    module = serializers.CharField()


class ExecutionRowSerializer(serializers.Serializer[Execution]):
    """Documents `representation.in_list`, which makes the JSON of every front."""

    id = serializers.UUIDField()
    program = ProgramReferenceSerializer()
    prompt_set = serializers.UUIDField()
    user = serializers.UUIDField()
    state = serializers.ChoiceField(choices=STATE_CHOICES)
    mode = serializers.ChoiceField(choices=MODE_CHOICES)
    source = serializers.ChoiceField(  # type: ignore[assignment]  # shadows an attribute of fields
        choices=SOURCE_CHOICES
    )
    assignment_key = serializers.CharField()
    replay_of = serializers.UUIDField(allow_null=True)
    error = ExecutionErrorSerializer(allow_null=True)
    flags = serializers.ListField(child=serializers.CharField())
    notice = serializers.CharField(help_text="What a reader of the output has to know, such as that no model answered.")
    token_usage = serializers.DictField()
    cost_usd = serializers.CharField(allow_null=True, help_text="Decimal string; null when a price is unknown.")
    credits_used = serializers.CharField()
    duration_ms = serializers.FloatField(allow_null=True)
    attempt = serializers.IntegerField()
    revision = serializers.IntegerField()
    cancel_requested_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        return in_list(instance)


class ExecutionSerializer(ExecutionRowSerializer):
    """Documents `representation.in_detail`."""

    input = serializers.DictField()
    output = serializers.DictField(allow_null=True)
    language_models = serializers.DictField()
    prices = serializers.ListField(child=serializers.UUIDField())
    waited_ms = serializers.FloatField(allow_null=True)
    trace = serializers.DictField(allow_null=True)

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        return in_detail(instance)


class OptionsSerializer(StrictSerializer):
    mode = serializers.ChoiceField(choices=MODE_CHOICES, default=Mode.SYNC.value)
    assignment_key = serializers.CharField(required=False, help_text="Keeps one user on one prompt version.")
    language_model = serializers.CharField(required=False, help_text="Name or id, in place of the program's own.")


class ExecuteWriteSerializer(StrictSerializer):
    """Documents the body of POST execute."""

    input = serializers.DictField(help_text="The program's inputs by name.")
    options = OptionsSerializer(required=False)


class ReplayWriteSerializer(StrictSerializer):
    program = serializers.CharField(required=False, help_text="Reference of another version; else the same one.")


class RefundWriteSerializer(CreditsSerializer):
    credits = credits_field(
        required=False, allow_null=True, default=None, help_text="All that is left of what it charged, if not given."
    )


class FeedbackSerializer(RecordSerializer):
    execution_id = serializers.UUIDField()
    score = serializers.FloatField(min_value=0, max_value=1)

    class Meta:
        model = Feedback
        fields = ["id", "execution_id", "user", "name", "score", "comment", "expected", "created_at"]
        read_only_fields = ["id", "user", "created_at"]
