"""Admin pages of executions, feedback, metrics and evaluations, and what they add to the page of a program."""

from executions.admin.evaluations import EvaluationAdmin, EvaluationItemAdmin
from executions.admin.executions import ExecutionAdmin
from executions.admin.feedback import FeedbackAdmin
from executions.admin.metrics import MetricAdmin
from executions.admin.repricings import CostCorrectionAdmin, RepricingAdmin
from executions.admin.usage import UsageAdmin

__all__ = [
    "CostCorrectionAdmin",
    "EvaluationAdmin",
    "EvaluationItemAdmin",
    "ExecutionAdmin",
    "FeedbackAdmin",
    "MetricAdmin",
    "RepricingAdmin",
    "UsageAdmin",
]
