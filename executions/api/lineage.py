"""The lineage of an execution on the wire."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from datasets.models import Dataset
from executions.models import Metric
from executions.selectors.lineage import Lineage
from mlops.api.prices import ModelPriceSerializer
from programs.models import Program, PromptSet, PromptVersion


class ProgramOfLineage(serializers.ModelSerializer[Program]):
    class Meta:
        model = Program
        fields = ("id", "name", "version", "status")


class PromptSetOfLineage(serializers.ModelSerializer[PromptSet]):
    class Meta:
        model = PromptSet
        fields = ("id", "digest")


class DatasetOfLineage(serializers.ModelSerializer[Dataset]):
    class Meta:
        model = Dataset
        fields = ("id", "name", "type", "version", "content_hash")


class MetricOfLineage(serializers.ModelSerializer[Metric]):
    class Meta:
        model = Metric
        fields = ("id", "name", "version", "kind")


class PriceOfLineage(ModelPriceSerializer):
    """A price row that the execution was charged by."""

    language_model = serializers.CharField(source="model.name", help_text="Its name.")  # type: ignore[assignment]

    class Meta(ModelPriceSerializer.Meta):
        fields = (
            "id",
            "language_model",
            "valid_from",
            "input_price",
            "cached_input_price",
            "output_price",
            "cache_write_price",
            "reasoning_price",
            "request_price",
            "input_limit",
            "source",
            "source_date",
        )


class DemoOfLineage(serializers.Serializer[Any]):
    position = serializers.IntegerField()
    digest = serializers.CharField(help_text="For `?demo=` of the list of executions.")
    example = serializers.UUIDField(source="example.pk", default=None, allow_null=True)
    dataset = serializers.UUIDField(source="example.dataset_id", default=None, allow_null=True)


class PromptOfLineage(serializers.ModelSerializer[PromptVersion]):
    module = serializers.CharField(source="module.key")
    demos = serializers.SerializerMethodField(help_text="In their order, each with the example that it was made of.")

    class Meta:
        model = PromptVersion
        fields = ("id", "module", "version", "source_kind", "source_id", "demos")

    def get_demos(self, prompt: PromptVersion) -> list[dict[str, Any]]:
        lineage: Lineage = self.context["lineage"]
        return DemoOfLineage(lineage.demos_of(prompt), many=True).data  # type: ignore[return-value]  # a list of dicts


class CompileOfLineage(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    optimizer = serializers.CharField()
    candidate_id = serializers.UUIDField()
    candidate = serializers.CharField()
    score = serializers.FloatField(allow_null=True)
    dataset_id = serializers.UUIDField()
    validation_set_id = serializers.UUIDField(allow_null=True)
    metric_id = serializers.UUIDField()
    prompt_versions = serializers.ListField(child=serializers.UUIDField())


class LineageSerializer(serializers.Serializer[Any]):
    """What an execution came from. What the reader may not see is left out."""

    execution_id = serializers.UUIDField(source="execution.pk")
    program = ProgramOfLineage()
    prompt_set = PromptSetOfLineage(allow_null=True)
    prompts = PromptOfLineage(many=True)
    optimizations = CompileOfLineage(many=True, help_text="Compile jobs that found prompts which were used.")
    datasets = DatasetOfLineage(many=True, help_text="Versions that the demos and the compile jobs come from.")
    metrics = MetricOfLineage(many=True, help_text="Versions by which the prompts were found.")
    prices = PriceOfLineage(many=True)
    language_models = serializers.DictField(source="execution.language_models", help_text="With their parameters then.")
