"""Reads of executions, and of what is scored with them, in the scope of an actor."""

from executions.selectors.evaluations import access_evaluation, access_item
from executions.selectors.executions import access_execution, inputs_of
from executions.selectors.metrics import access_metric, metric_spec
from executions.selectors.usage import UsageQuery, UsageReport, monthly_costs, usage_report

__all__ = [
    "UsageQuery",
    "UsageReport",
    "access_evaluation",
    "access_execution",
    "access_item",
    "access_metric",
    "inputs_of",
    "metric_spec",
    "monthly_costs",
    "usage_report",
]
