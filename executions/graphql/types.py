"""Types of executions, metrics, evaluations and repricings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphene

from datasets.graphql.types import DatasetType, ExampleType
from executions.filters import (
    CostCorrectionFilter,
    EvaluationFilter,
    EvaluationItemFilter,
    ExecutionFilter,
    FeedbackFilter,
    MetricFilter,
    RepricingFilter,
)
from executions.models import (
    CostCorrection,
    Evaluation,
    EvaluationItem,
    EvaluationScore,
    Execution,
    Feedback,
    Metric,
    Repricing,
    RepricingDay,
)
from executions.querysets import HEAVY_COLUMNS
from executions.representation import trace_told, usage_told, with_usd
from mlops.graphql.lists import All, Children
from mlops.graphql.peers import column_of
from mlops.graphql.records import Listed, Part, Record, Target, add_field
from mlops.graphql.scalars import JSON, Money
from mlops.graphql.types import LanguageModelType, UserType
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD
from programs.graphql.types import ProgramType, PromptSetType

JOB = ("state", "revision", "cancel_requested_at", "created_at", "started_at", "finished_at")
"""What every kind of work has."""


def dollars(column: str, **options: Any) -> Money:
    """Pico-dollars as a decimal string of dollars; null where a price is unknown."""
    return Money(column, PICO_PER_USD, **options)


def told(column: str, shape: Callable[[Any], Any], **options: Any) -> graphene.Field:
    """A JSON column as it leaves over REST."""

    def resolve(row: Any, info: Any) -> Any:
        value = column_of(row, column)
        return None if value is None else shape(value)

    return graphene.Field(JSON, resolver=resolve, **options)


class ErrorType(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    """Why a piece of work failed."""

    class Meta:
        name = "WorkError"

    code = graphene.String(required=True)
    message = graphene.String(required=True)
    module = graphene.String(description="The module of the program that failed, of executions.")


class FailsMixin:
    """Rows that say why they failed."""

    error = graphene.Field(ErrorType)

    @staticmethod
    def resolve_error(row: Any, info: Any) -> ErrorType | None:
        if not row.error_code:
            return None
        return ErrorType(code=row.error_code, message=row.error_message, module=getattr(row, "error_module", None))


class FeedbackType(Record):
    """A named score on an execution."""

    class Meta:
        name = "Feedback"
        model = Feedback
        fields = ("id", "name", "score", "comment", "expected", "created_at")
        listed = Listed(FeedbackFilter, orderings=("id",))

    execution = Target(lambda: ExecutionType)
    user = Target(UserType)


class ExecutionType(FailsMixin, Record):
    """One run of a program version on one input."""

    class Meta:
        name = "Execution"
        model = Execution
        fields = (
            "id", "mode", "source", "assignment_key", "flags", "duration_ms", "total_tokens", "attempt", *JOB,
        )  # fmt: skip
        heavy = HEAVY_COLUMNS
        listed = Listed(ExecutionFilter, orderings=("id",))

    program = Target(ProgramType)
    prompt_set = Target(PromptSetType)
    user = Target(UserType)
    replay_of = Target(lambda: ExecutionType)
    notice = graphene.String(required=True, description="What a reader of the output has to know.")
    token_usage = told("token_usage", usage_told, required=True)
    trace = told("trace", trace_told)
    cost_usd = dollars("cost")
    credits_used = Money("credits_used", MICRO_PER_CREDIT)
    feedback = Children(FeedbackType, "execution")


class MetricType(Record):
    """A versioned way to score."""

    class Meta:
        name = "Metric"
        model = Metric
        fields = ("id", "name", "version", "description", "kind", "frozen_at", "created_at", "updated_at")
        heavy = ("config",)
        listed = Listed(MetricFilter, orderings=("name",), search=("name", "description"))

    judge_program = Target(ProgramType)
    language_model = Target(LanguageModelType)


class EvaluationScoreType(Part):
    """The scores of one metric over all examples, with their interval."""

    class Meta:
        name = "EvaluationScore"
        model = EvaluationScore
        fields = ("mean", "low", "high", "confidence", "n", "errors", "majority_baseline")

    metric = Target(MetricType)


class EvaluationItemType(FailsMixin, Record):
    """One example of an evaluation."""

    class Meta:
        name = "EvaluationItem"
        model = EvaluationItem
        fields = ("id", "position", "scores", "feedback", "calls", "total_tokens", "duration_ms", "created_at")
        heavy = ("output", "trace", "token_usage")
        listed = Listed(EvaluationItemFilter, orderings=("id",))

    evaluation = Target(lambda: EvaluationType)
    example = Target(ExampleType)
    cost_usd = dollars("cost")
    trace = told("trace", trace_told)
    token_usage = told("token_usage", usage_told, required=True)


class EvaluationType(FailsMixin, Record):
    """A program version with its prompt set scored on a dataset version."""

    class Meta:
        name = "Evaluation"
        model = Evaluation
        fields = (
            "id", "backends", "size", "done", "errors", "finish_reason", "concurrency", "calls", "total_tokens",
            "unpriced", "seconds", *JOB,
        )  # fmt: skip
        heavy = ("estimate", "token_usage")
        listed = Listed(EvaluationFilter, orderings=("id",))

    program = Target(ProgramType)
    prompt_set = Target(PromptSetType)
    dataset = Target(DatasetType)
    language_model = Target(LanguageModelType)
    user = Target(UserType)
    scores = All(EvaluationScoreType, "scores")
    items = Children(EvaluationItemType, "evaluation")
    budget = told("budget", with_usd, required=True)
    estimate = told("estimate", with_usd, required=True)
    token_usage = told("token_usage", usage_told, required=True)
    cost_usd = dollars("cost", description="Of what has a price; `unpriced` items are not in it.")


class RepricingDayType(Part):
    """The difference of one UTC day and language model."""

    class Meta:
        name = "RepricingDay"
        model = RepricingDay
        fields = ("day", "language_model", "executions", "priced", "unpriced")

    cost_before_usd = dollars("cost_before")
    cost_after_usd = dollars("cost_after")


class RepricingType(FailsMixin, Record):
    """What executions of a period would cost by the present prices, and what was changed."""

    class Meta:
        name = "Repricing"
        model = Repricing
        fields = (
            "id", "since", "until", "program", "dry_run", "refunds_credits", "prices_as_of", "looked_at", "changed",
            "priced", "unpriced", "progress", "attempt", *JOB,
        )  # fmt: skip
        listed = Listed(RepricingFilter, orderings=("id",))

    language_model = Target(LanguageModelType)
    preview = Target(lambda: RepricingType)
    user = Target(UserType)
    cost_before_usd = dollars("cost_before")
    cost_after_usd = dollars("cost_after")
    credits_overcharged = Money("credits_overcharged", MICRO_PER_CREDIT)
    credits_undercharged = Money("credits_undercharged", MICRO_PER_CREDIT)
    days = All(RepricingDayType, "days")


class CostCorrectionType(Record):
    """What a repricing changed of one execution."""

    class Meta:
        name = "CostCorrection"
        model = CostCorrection
        fields = ("id", "prices_before", "prices_after")
        listed = Listed(CostCorrectionFilter, orderings=("id",))

    repricing = Target(RepricingType)
    execution = Target(ExecutionType)
    cost_before_usd = dollars("cost_before")
    cost_after_usd = dollars("cost_after")
    credits_refunded = Money("credits_refunded", MICRO_PER_CREDIT)


def add_upward_fields() -> None:
    """What lower apps' types lead to here."""
    add_field(ProgramType, "executions", Children(ExecutionType, "program", description="Latest first."))
    add_field(ProgramType, "evaluations", Children(EvaluationType, "program", description="Latest first."))
    add_field(PromptSetType, "executions", Children(ExecutionType, "prompt_set", description="Latest first."))
    add_field(DatasetType, "evaluations", Children(EvaluationType, "dataset", description="Latest first."))
