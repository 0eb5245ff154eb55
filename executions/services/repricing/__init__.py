"""Correcting what executions cost, after prices were corrected."""

from executions.services.repricing.starting import apply_repricing, cancel_repricing, reprice
from executions.services.repricing.working import sweep_repricings, work_repricings

__all__ = ["apply_repricing", "cancel_repricing", "reprice", "sweep_repricings", "work_repricings"]
