"""What has become of work that credits are held back for."""

from __future__ import annotations

from executions.models import Evaluation, Execution
from executions.services.evaluations.ending import credits_used
from mlops.services.reservations import by_age, by_row, judge_reservations


def register_judges() -> None:
    """Tell the sweeper of leaked reservations about the work of this app."""
    executions = Execution.objects.only("state", "credits_used")
    judge_reservations("execution", by_row(executions, lambda execution: int(execution.credits_used)))
    judge_reservations("evaluation", by_row(Evaluation.objects.select_related("program"), credits_used))
    judge_reservations("metric", by_age)
