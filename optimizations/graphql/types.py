"""Types of optimizations, candidates and schedules."""

from __future__ import annotations

from typing import Any

import graphene

from datasets.graphql.types import DatasetType
from executions.graphql.types import JOB, EvaluationType, FailsMixin, MetricType, dollars, told
from executions.representation import usage_told, with_usd
from mlops.graphql.lists import Children
from mlops.graphql.peers import peers_of, together
from mlops.graphql.records import Listed, Record, Target, add_field
from mlops.graphql.types import LanguageModelType, UserType
from optimizations.filters import CandidateFilter, OptimizationFilter, ScheduleFilter
from optimizations.models import Candidate, Optimization, Schedule
from optimizations.representation import comparison_told, estimate_as_json
from programs.graphql.types import ProgramType, PromptSetType
from programs.models import Program


class CandidateType(Record):
    """What an optimization tried."""

    class Meta:
        name = "Candidate"
        model = Candidate
        fields = (
            "id", "number", "label", "digest", "score", "n", "scored_on", "is_partial", "is_best", "calls", "seconds",
            "created_at",
        )  # fmt: skip
        heavy = ("state",)
        listed = Listed(CandidateFilter, orderings=("id",))

    optimization = Target(lambda: OptimizationType)
    token_usage = told("token_usage", usage_told, required=True)
    cost_usd = dollars("cost")


class OptimizationType(FailsMixin, Record):
    """One compile job."""

    class Meta:
        name = "Optimization"
        model = Optimization
        fields = (
            "id", "optimizer", "params", "seed", "warnings", "calls", "total_tokens", "seconds", "is_better",
            "finish_reason", "attempt", *JOB,
        )  # fmt: skip
        listed = Listed(OptimizationFilter, orderings=("id",))

    program = Target(ProgramType)
    prompt_set = Target(PromptSetType)
    dataset = Target(DatasetType)
    validation_set = Target(DatasetType)
    metric = Target(MetricType)
    prompt_model = Target(LanguageModelType)
    user = Target(UserType)
    result_program = Target(ProgramType)
    baseline_evaluation = Target(EvaluationType)
    best_evaluation = Target(EvaluationType)
    candidates = Children(CandidateType, "optimization")
    budget = told("budget", with_usd, required=True)
    estimate = told("estimate", estimate_as_json, required=True)
    progress = told("progress", with_usd, required=True)
    comparison = told("comparison", comparison_told)
    token_usage = told("token_usage", usage_told, required=True)
    cost_usd = dollars("cost")


class ScheduleType(Record):
    """What is compiled or evaluated again and again, with the rights and at the cost of its owner."""

    class Meta:
        name = "Schedule"
        model = Schedule
        fields = (
            "id", "name", "verb", "arguments", "crontab", "time_zone", "is_enabled", "deploy_if_better", "last_run_at",
            "last_kind", "last_id", "last_result", "last_error", "created_at", "updated_at",
        )  # fmt: skip
        listed = Listed(ScheduleFilter, orderings=("name", "last_run_at"), search=("name",), order_by=("name",))

    user = Target(UserType)


def add_upward_fields() -> None:
    """What lower apps' types lead to here."""
    compiled_from = graphene.Field(
        OptimizationType, resolver=_compiled_from, description="The compile job that it came from."
    )
    add_field(ProgramType, "compiled_from", compiled_from)
    add_field(ProgramType, "optimizations", Children(OptimizationType, "program", description="Latest first."))


def _compiled_from(program: Program, info: Any) -> Optimization | None:
    def read(rows: list[Program]) -> dict[Any, Optimization]:
        found = list(OptimizationType.visible(info).filter(result_program__in=[row.pk for row in rows]))
        together(found)
        return {job.result_program_id: job for job in found}

    return peers_of(program).once("compiled_from", read).get(program.pk)
