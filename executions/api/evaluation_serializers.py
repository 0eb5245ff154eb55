"""Shapes of evaluations; `evaluation_representation` makes the JSON that these document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from executions import evaluation_representation as shown
from executions.api.serializers import ExecutionErrorSerializer, ProgramReferenceSerializer
from executions.models import Evaluation, EvaluationItem
from executions.models.evaluations import FINISH_REASON_CHOICES
from executions.services.evaluations.proposals import MAX_CONCURRENCY, MAX_LIMIT, MAX_METRICS
from mlops.api.serializers import DecimalStringField, StrictSerializer
from mlops.models.jobs import STATE_CHOICES
from mlops.types import PICO_PER_USD
from programs.api.bodies import REFERENCE, JSONObject

MAX_SECONDS = 10**9


@extend_schema_serializer(component_name="Budget")
class BudgetBody(StrictSerializer):
    """The most that a piece of work may use; what is left out is not limited."""

    cost_usd = DecimalStringField(scale=PICO_PER_USD, source="cost", required=False)
    calls = serializers.IntegerField(required=False, min_value=0, max_value=MAX_LIMIT)
    tokens = serializers.IntegerField(required=False, min_value=0, max_value=MAX_LIMIT)
    seconds = serializers.FloatField(required=False, min_value=0, max_value=MAX_SECONDS)


EVALUATE_NAMES = {"dataset": "dataset_id", "budget.cost": "budget.cost_usd"}
"""Fields of the body by the names that the service has for them."""


class EvaluateWriteSerializer(StrictSerializer):
    dataset_id = serializers.UUIDField(source="dataset")
    metrics = serializers.ListField(
        child=serializers.CharField(), min_length=1, max_length=MAX_METRICS, help_text=REFERENCE
    )
    language_model = serializers.CharField(required=False, help_text="Name or id, in place of the program's own.")
    prompt_set = serializers.UUIDField(required=False, help_text="Else that of a new execution.")
    concurrency = serializers.IntegerField(
        default=32, min_value=1, max_value=MAX_CONCURRENCY, help_text="Examples at once per worker."
    )
    budget = BudgetBody(required=False)


def _interval(child: serializers.Field[Any, Any, Any, Any], **options: Any) -> serializers.ListField:
    return serializers.ListField(child=child, min_length=2, max_length=2, help_text="At least, at most.", **options)


class EvaluationEstimateSerializer(StrictSerializer):
    """What an evaluation takes, each figure between two bounds."""

    items = serializers.IntegerField()
    calls = _interval(serializers.IntegerField())
    tokens = _interval(serializers.IntegerField())
    cost_usd = _interval(serializers.CharField(), allow_null=True)
    seconds = _interval(serializers.FloatField())
    basis = serializers.ChoiceField(
        choices=["history", "limits"], help_text="What the program took lately, or what prompts and limits allow."
    )
    samples = serializers.IntegerField()


class EvaluationScoreSerializer(StrictSerializer):
    metric = ProgramReferenceSerializer()
    mean = serializers.FloatField(allow_null=True, help_text="Over the examples that have a score.")
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    confidence = serializers.FloatField()
    n = serializers.IntegerField()
    errors = serializers.IntegerField(  # type: ignore[assignment]  # shadows an attribute of serializers
        help_text="Examples without a score: the program or the metric failed."
    )
    majority_baseline = serializers.FloatField(
        allow_null=True, help_text="What always saying the commonest answer scores."
    )
    backends = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="The language models that the metric asks, each with its fallbacks; null where nobody noted them.",
    )


class EvaluationSourceSerializer(StrictSerializer):
    kind = serializers.CharField()
    id = serializers.UUIDField()


class EvaluationProblemSerializer(StrictSerializer):
    code = serializers.CharField()
    message = serializers.CharField()


class EvaluationDatasetSerializer(ProgramReferenceSerializer):
    type = serializers.CharField()


class EvaluationRowSerializer(serializers.Serializer[Evaluation]):
    """Documents `evaluation_representation.in_list`."""

    id = serializers.UUIDField()
    program = ProgramReferenceSerializer()
    prompt_set = serializers.UUIDField()
    dataset = EvaluationDatasetSerializer()
    language_model = serializers.UUIDField(allow_null=True)
    backends = serializers.ListField(
        child=serializers.CharField(),
        help_text="The language models that may answer, each with its fallbacks: `openai/large > openai/small`.",
    )
    user = serializers.UUIDField()
    source = EvaluationSourceSerializer(allow_null=True)  # type: ignore[assignment]  # shadows an attribute of fields
    state = serializers.ChoiceField(choices=STATE_CHOICES)
    revision = serializers.IntegerField()
    size = serializers.IntegerField(help_text="Examples of the dataset.")
    done = serializers.IntegerField(help_text="Examples that have an item.")
    errors = serializers.IntegerField()  # type: ignore[assignment]  # as above
    finish_reason = serializers.ChoiceField(choices=FINISH_REASON_CHOICES, allow_null=True)
    error = EvaluationProblemSerializer(allow_null=True)
    scores = EvaluationScoreSerializer(many=True)
    concurrency = serializers.IntegerField()
    budget = BudgetBody()
    calls = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cost_usd = serializers.CharField(help_text="Of what has a price; `unpriced` items are not in it.")
    unpriced = serializers.IntegerField()
    seconds = serializers.FloatField(help_text="Of working time.")
    cancel_requested_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Evaluation) -> dict[str, Any]:
        return shown.in_list(instance)


class EvaluationSerializer(EvaluationRowSerializer):
    """Documents `evaluation_representation.in_detail`."""

    estimate = EvaluationEstimateSerializer()
    token_usage = JSONObject()

    def to_representation(self, instance: Evaluation) -> dict[str, Any]:
        return shown.in_detail(instance)


class EvaluationItemRowSerializer(serializers.Serializer[EvaluationItem]):
    """Documents `evaluation_representation.item_in_list`."""

    id = serializers.UUIDField()
    evaluation = serializers.UUIDField()
    example = serializers.UUIDField()
    position = serializers.IntegerField()
    scores = serializers.DictField(child=serializers.FloatField())
    feedback = serializers.DictField(child=serializers.CharField())
    error = ExecutionErrorSerializer(allow_null=True)
    calls = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cost_usd = serializers.CharField(allow_null=True)
    duration_ms = serializers.FloatField(allow_null=True)
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: EvaluationItem) -> dict[str, Any]:
        return shown.item_in_list(instance)


class EvaluationItemSerializer(EvaluationItemRowSerializer):
    """Documents `evaluation_representation.item_in_detail`."""

    example_data = JSONObject()
    output = JSONObject(allow_null=True)
    token_usage = JSONObject()
    trace = JSONObject(allow_null=True)

    def to_representation(self, instance: EvaluationItem) -> dict[str, Any]:
        return shown.item_in_detail(instance)


class SpreadSerializer(StrictSerializer):
    mean = serializers.FloatField(allow_null=True)
    p50 = serializers.FloatField(allow_null=True)
    p95 = serializers.FloatField(allow_null=True)


class CostSpreadSerializer(StrictSerializer):
    mean = serializers.CharField(allow_null=True)
    p50 = serializers.CharField(allow_null=True)
    p95 = serializers.CharField(allow_null=True)


class SideSerializer(StrictSerializer):
    evaluation = serializers.UUIDField()
    mean = serializers.FloatField(allow_null=True, help_text="Over the pairs.")
    scored = serializers.IntegerField()
    cost_usd = CostSpreadSerializer(help_text="Of the program alone, per example.")
    unpriced = serializers.IntegerField()
    duration_ms = SpreadSerializer(help_text="Of the program alone, per example.")


class ChangeSideSerializer(StrictSerializer):
    score = serializers.FloatField()
    output = JSONObject(allow_null=True)
    feedback = serializers.CharField()


class ChangeSerializer(StrictSerializer):
    example = serializers.UUIDField()
    position = serializers.IntegerField()
    old = ChangeSideSerializer()
    new = ChangeSideSerializer()


class ComparisonSerializer(StrictSerializer):
    """Candidate minus baseline, over the examples that both have a score of."""

    metric = ProgramReferenceSerializer()
    size = serializers.IntegerField()
    pairs = serializers.IntegerField()
    dropped = serializers.IntegerField(help_text="Examples that are not in the comparison.")
    baseline = SideSerializer()
    candidate = SideSerializer()
    difference = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(allow_null=True)
    high = serializers.FloatField(allow_null=True)
    confidence = serializers.FloatField()
    p_value = serializers.FloatField(allow_null=True)
    test = serializers.CharField()
    is_better = serializers.BooleanField()
    wins = serializers.IntegerField()
    losses = serializers.IntegerField()
    ties = serializers.IntegerField()
    regressions = ChangeSerializer(many=True, help_text="The first 100 of `losses`.")
