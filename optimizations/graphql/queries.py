"""Queries of optimizations, candidates and schedules."""

from __future__ import annotations

from typing import Any

import graphene

from mlops.graphql.lists import Rows
from mlops.graphql.records import Get, actor_of
from mlops.graphql.scalars import JSON
from optimizations.graphql.types import CandidateType, OptimizationType, ScheduleType
from optimizations.policies import optimization_policy
from optimizations.selectors import offered_optimizers


class Query(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    get_optimization = Get(OptimizationType)
    list_optimizations = Rows(OptimizationType)
    get_candidate = Get(CandidateType)
    list_candidates = Rows(CandidateType)
    get_schedule = Get(ScheduleType)
    list_schedules = Rows(ScheduleType)
    list_optimizers = JSON(required=True, description="Each with its parameters as JSON Schema.")

    @staticmethod
    def resolve_list_optimizers(root: Any, info: Any) -> Any:
        optimization_policy.check(actor_of(info), "view")
        return offered_optimizers()
