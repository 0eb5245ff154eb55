"""Admin pages of optimizations."""

from optimizations.admin.candidates import CandidateAdmin
from optimizations.admin.optimizations import OptimizationAdmin
from optimizations.admin.schedules import ScheduleAdmin

__all__ = ["CandidateAdmin", "OptimizationAdmin", "ScheduleAdmin"]
