"""Shapes of metrics."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from executions.models import Metric
from executions.models.metrics import METRIC_KIND_CHOICES
from executions.services.scoring import range_of
from mlops.api.serializers import RecordSerializer, StrictSerializer
from programs.api.bodies import REFERENCE, JSONObject

ROW = ["id", "name", "version", "description", "kind", "frozen_at", "created_at", "updated_at"]


class RangeSerializer(StrictSerializer):
    low = serializers.FloatField()
    high = serializers.FloatField()


class MetricRowSerializer(RecordSerializer):
    class Meta:
        model = Metric
        fields = ROW
        read_only_fields = fields


class MetricSerializer(RecordSerializer):
    range = serializers.SerializerMethodField(help_text="Null when its code is not registered any more.")

    class Meta:
        model = Metric
        fields = [*ROW, "config", "judge_program", "language_model", "range"]
        read_only_fields = fields

    @extend_schema_field(RangeSerializer(allow_null=True))  # type: ignore[untyped-decorator]  # it has no types
    def get_range(self, row: Metric) -> dict[str, float] | None:
        found = range_of(row)
        return None if found is None else {"low": found.low, "high": found.high}


class MetricChangesBody(StrictSerializer):
    """`kind` says what `config` may hold: see `/metrics/kinds/`."""

    description = serializers.CharField(required=False, allow_blank=True)
    kind = serializers.ChoiceField(choices=METRIC_KIND_CHOICES, required=False)
    config = JSONObject(required=False)
    judge_program = serializers.CharField(required=False, allow_null=True, help_text=REFERENCE)
    language_model = serializers.CharField(required=False, allow_null=True, help_text="By id or by name.")


class CreateMetricBody(MetricChangesBody):
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=METRIC_KIND_CHOICES)


class TryMetricBody(StrictSerializer):
    example = JSONObject(help_text="The data of an example: inputs and expected values.")
    output = JSONObject(help_text="What a program gave.")


class ScoreBody(StrictSerializer):
    """What the metric says."""

    value = serializers.FloatField()
    feedback = serializers.CharField()


class KindBody(StrictSerializer):
    """A kind of metric, with a config to begin with."""

    kind = serializers.CharField()
    description = serializers.CharField()
    example = JSONObject()
    config_schema = JSONObject()
