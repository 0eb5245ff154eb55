"""Admin pages of executions and feedback, and what they add to the page of a program."""

from executions.admin.executions import ExecutionAdmin
from executions.admin.feedback import FeedbackAdmin

__all__ = ["ExecutionAdmin", "FeedbackAdmin"]
