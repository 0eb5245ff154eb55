"""Rows of executions: one run each, and what people and metrics said about it."""

from executions.models.executions import Execution
from executions.models.feedback import Feedback

__all__ = ["Execution", "Feedback"]
