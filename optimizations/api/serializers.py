"""Shapes of optimizations and candidates."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from executions.api.evaluation_serializers import EVALUATE_NAMES, BudgetBody
from executions.models.evaluations import FINISH_REASON_CHOICES
from mlops.api.serializers import DecimalStringField, RecordSerializer, StrictSerializer
from mlops.models.jobs import STATE_CHOICES
from mlops.types import PICO_PER_USD
from optimizations.models import Candidate, Optimization
from optimizations.representation import estimate_as_json, in_detail, in_list


def _interval(child: serializers.Field[Any, Any, Any, Any], **options: Any) -> serializers.ListField:
    return serializers.ListField(child=child, min_length=2, max_length=2, help_text="At least, at most.", **options)


class VersionReferenceSerializer(StrictSerializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    version = serializers.IntegerField()


class OptimizationErrorSerializer(StrictSerializer):
    code = serializers.CharField()
    message = serializers.CharField()


class OptimizationRowSerializer(serializers.Serializer[Optimization]):
    """Documents `representation.in_list`."""

    id = serializers.UUIDField()
    program = VersionReferenceSerializer()
    dataset = serializers.UUIDField()
    validation_set = serializers.UUIDField(allow_null=True)
    metric = VersionReferenceSerializer()
    optimizer = serializers.CharField()
    seed = serializers.IntegerField()
    budget = serializers.DictField()
    user = serializers.UUIDField()
    state = serializers.ChoiceField(choices=STATE_CHOICES)
    revision = serializers.IntegerField()
    progress = serializers.DictField(help_text="`phase` is baseline, compiling or judging.")
    finish_reason = serializers.ChoiceField(choices=FINISH_REASON_CHOICES, allow_null=True)
    error = OptimizationErrorSerializer(allow_null=True)
    calls = serializers.IntegerField(help_text="Of the optimizer; its two evaluations count their own.")
    total_tokens = serializers.IntegerField()
    cost_usd = serializers.CharField(allow_null=True, help_text="Decimal string; null when a price is unknown.")
    seconds = serializers.FloatField()
    is_better = serializers.BooleanField(allow_null=True, help_text="Proven at 95 %; null while nothing is proven.")
    result_program = serializers.UUIDField(allow_null=True)
    attempt = serializers.IntegerField()
    cancel_requested_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Optimization) -> dict[str, Any]:
        return in_list(instance)


class EstimateSerializer(StrictSerializer):
    """Documents `representation.estimate_as_json`."""

    calls = _interval(serializers.IntegerField())
    optimizer_calls = _interval(serializers.IntegerField())
    judging_calls = _interval(serializers.IntegerField())
    tokens = _interval(serializers.IntegerField())
    cost_usd = _interval(serializers.CharField(), allow_null=True)
    seconds = _interval(serializers.FloatField())
    basis = serializers.CharField(help_text="`history` or `limits`.")
    training = serializers.IntegerField()
    validation = serializers.IntegerField()
    demo_tokens = serializers.IntegerField(help_text="By which demos may lengthen each prompt.")
    overlaps = serializers.ListField(child=serializers.DictField())
    warnings = serializers.ListField(child=serializers.CharField())

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return estimate_as_json(instance)


class OptimizationSerializer(OptimizationRowSerializer):
    """Documents `representation.in_detail`."""

    params = serializers.DictField()
    prompt_set = serializers.UUIDField()
    prompt_model = serializers.UUIDField(allow_null=True)
    estimate = EstimateSerializer()
    warnings = serializers.ListField(child=serializers.CharField())
    token_usage = serializers.DictField()
    baseline_evaluation = serializers.UUIDField(allow_null=True)
    best_evaluation = serializers.UUIDField(allow_null=True)
    comparison = serializers.DictField(allow_null=True)
    source = serializers.DictField(  # type: ignore[assignment]  # shadows an attribute of fields
        allow_null=True
    )

    def to_representation(self, instance: Optimization) -> dict[str, Any]:
        return in_detail(instance)


class OptimizerSerializer(StrictSerializer):
    name = serializers.CharField()
    params = serializers.DictField(required=False, help_text="See GET /optimizers/.")


COMPILE_NAMES = {
    **EVALUATE_NAMES,
    "validation_set": "validation_set_id",
    **dict.fromkeys(("fractions", "fractions.training", "fractions.validation"), "dataset_id"),
}
"""Fields of the body by the names that the services have for them; without a validation set, `dataset_id` is split."""


class CompileWriteSerializer(StrictSerializer):
    """The body of POST compile and of its estimate."""

    dataset_id = serializers.UUIDField(source="dataset", help_text="The training set.")
    validation_set_id = serializers.UUIDField(
        source="validation_set",
        required=False,
        allow_null=True,
        help_text="Else a part of the training set is split off.",
    )
    metric = serializers.CharField(help_text="An id, `name` or `name@2`.")
    optimizer = OptimizerSerializer()
    budget = BudgetBody(required=False, help_text="For everything that the job does, its judgement included.")
    seed = serializers.IntegerField(required=False, min_value=0)
    prompt_model = serializers.CharField(
        required=False, allow_null=True, help_text="Name or id of the language model that proposes instructions."
    )


class CandidateRowSerializer(RecordSerializer):
    cost_usd = DecimalStringField(scale=PICO_PER_USD, source="cost", allow_null=True, read_only=True)

    class Meta:
        model = Candidate
        fields = [
            "id", "optimization", "number", "label", "digest", "score", "n", "scored_on", "is_partial", "is_best",
            "calls", "token_usage", "cost_usd", "seconds", "created_at",
        ]  # fmt: skip
        read_only_fields = fields


class CandidateSerializer(CandidateRowSerializer):
    class Meta:
        model = Candidate
        fields = [*CandidateRowSerializer.Meta.fields, "state"]
        read_only_fields = fields


class EmptyBody(StrictSerializer):
    """Nothing to say."""


class OptimizerDocumented(StrictSerializer):
    name = serializers.CharField()
    description = serializers.CharField()
    parameters = serializers.DictField(help_text="JSON Schema of `optimizer.params`.")


class NotOfferedDocumented(StrictSerializer):
    name = serializers.CharField()
    reason = serializers.CharField()


class OptimizersSerializer(StrictSerializer):
    """What can be compiled with, and what DSPy has beyond it."""

    optimizers = OptimizerDocumented(many=True)
    not_offered = NotOfferedDocumented(many=True)
