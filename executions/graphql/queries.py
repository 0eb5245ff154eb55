"""Queries of executions, metrics, evaluations and repricings."""

from __future__ import annotations

import graphene

from executions.graphql.types import (
    CostCorrectionType,
    EvaluationItemType,
    EvaluationType,
    ExecutionType,
    FeedbackType,
    MetricType,
    RepricingType,
)
from executions.selectors import access_metric
from mlops.graphql.lists import Rows
from mlops.graphql.records import Get


class Query(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
    get_execution = Get(ExecutionType)
    list_executions = Rows(ExecutionType)
    get_feedback = Get(FeedbackType)
    list_feedback = Rows(FeedbackType)
    get_metric = Get(MetricType, access_metric)
    list_metrics = Rows(MetricType)
    get_evaluation = Get(EvaluationType)
    list_evaluations = Rows(EvaluationType)
    get_evaluation_item = Get(EvaluationItemType)
    list_evaluation_items = Rows(EvaluationItemType)
    get_repricing = Get(RepricingType)
    list_repricings = Rows(RepricingType)
    get_cost_correction = Get(CostCorrectionType)
    list_cost_corrections = Rows(CostCorrectionType)
