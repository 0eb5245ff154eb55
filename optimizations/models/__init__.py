"""Rows of optimizations: compile jobs with their candidates and memo, and schedules."""

from optimizations.models.optimizations import Candidate, MemoEntry, Optimization
from optimizations.models.schedules import Schedule

__all__ = ["Candidate", "MemoEntry", "Optimization", "Schedule"]
