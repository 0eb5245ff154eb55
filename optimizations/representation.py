"""Optimizations and estimates as JSON, one shape for all views. Money leaves as decimal strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executions.representation import time_of, usd, versioned, with_usd
from optimizations.models import Optimization
from optimizations.services import OptimizationEstimate


def in_list(row: Optimization) -> dict[str, Any]:
    """A row of a list. Expects `program` and `metric` joined."""
    return {
        "id": str(row.pk),
        "program": versioned(row.program),
        "dataset": str(row.dataset_id),
        "validation_set": None if row.validation_set_id is None else str(row.validation_set_id),
        "metric": versioned(row.metric),
        "optimizer": row.optimizer,
        "seed": row.seed,
        "budget": with_usd(row.budget),
        "user": str(row.user_id),
        "state": row.state,
        "revision": row.revision,
        "progress": with_usd(row.progress),
        "finish_reason": row.finish_reason or None,
        "error": _error(row),
        "calls": row.calls,
        "total_tokens": row.total_tokens,
        "cost_usd": usd(row.cost),
        "seconds": round(row.seconds, 3),
        "is_better": row.is_better,
        "result_program": None if row.result_program_id is None else str(row.result_program_id),
        "attempt": row.attempt,
        "cancel_requested_at": time_of(row.cancel_requested_at),
        "created_at": time_of(row.created_at),
        "started_at": time_of(row.started_at),
        "finished_at": time_of(row.finished_at),
    }


def in_detail(row: Optimization) -> dict[str, Any]:
    """The whole row."""
    return {
        **in_list(row),
        "params": row.params,
        "prompt_set": str(row.prompt_set_id),
        "prompt_model": None if row.prompt_model_id is None else str(row.prompt_model_id),
        "estimate": estimate_as_json(row.estimate),
        "warnings": row.warnings,
        "token_usage": row.token_usage,
        "baseline_evaluation": _id(row.baseline_evaluation_id),
        "best_evaluation": _id(row.best_evaluation_id),
        "comparison": comparison_told(row.comparison),
        "source": {"kind": row.source_kind, "id": _id(row.source_id)} if row.source_kind else None,
    }


def estimate_as_json(estimate: OptimizationEstimate | Mapping[str, Any]) -> dict[str, Any]:
    """An estimate, as it was given or as the row keeps it; intervals are pairs."""
    told = dict(estimate.as_json() if isinstance(estimate, OptimizationEstimate) else estimate)
    if "cost" in told:
        cost = told.pop("cost")
        told["cost_usd"] = None if cost is None else [usd(bound) for bound in cost]
    return told


def comparison_told(comparison: Mapping[str, Any]) -> dict[str, Any] | None:
    if not comparison:
        return None
    return {**comparison, **{name: with_usd(comparison[name]) for name in ("baseline", "candidate")}}


def _error(row: Optimization) -> dict[str, str] | None:
    return {"code": row.error_code, "message": row.error_message} if row.error_code else None


def _id(value: Any) -> str | None:
    return None if value is None else str(value)
