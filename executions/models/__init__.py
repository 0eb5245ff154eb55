"""Rows of executions: one run each and what was said about it; metrics, and program versions scored with them."""

from executions.models.evaluations import Evaluation, EvaluationItem, EvaluationScore, EvaluationShard
from executions.models.executions import Execution
from executions.models.feedback import Feedback
from executions.models.metrics import Metric
from executions.models.repricing import CostCorrection, Repricing, RepricingDay
from executions.models.usage import UsageDay

__all__ = [
    "CostCorrection",
    "Evaluation",
    "EvaluationItem",
    "EvaluationScore",
    "EvaluationShard",
    "Execution",
    "Feedback",
    "Metric",
    "Repricing",
    "RepricingDay",
    "UsageDay",
]
