"""Evaluations, their items and comparisons as JSON, one shape for all views. Money leaves as decimal strings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executions.models import Evaluation, EvaluationItem, EvaluationScore
from executions.representation import time_of, usage_told, usd, versioned, with_usd
from executions.services.evaluations.comparing import Change, EvaluationComparison, Side, Spread


def in_list(row: Evaluation) -> dict[str, Any]:
    """A row of a list. Expects `program`, `dataset` and the scores with their metrics."""
    return {
        "id": str(row.pk),
        "program": versioned(row.program),
        "prompt_set": str(row.prompt_set_id),
        "dataset": {**versioned(row.dataset), "type": row.dataset.type},
        "language_model": None if row.language_model_id is None else str(row.language_model_id),
        "backends": row.backends,
        "user": str(row.user_id),
        "source": None if row.source_id is None else {"kind": row.source_kind, "id": str(row.source_id)},
        "state": row.state,
        "revision": row.revision,
        "size": row.size,
        "done": row.done,
        "errors": row.errors,
        "finish_reason": row.finish_reason or None,
        "error": None if not row.error_code else {"code": row.error_code, "message": row.error_message},
        "scores": [_score(score) for score in row.scores.all()],
        "concurrency": row.concurrency,
        "budget": with_usd(row.budget),
        "calls": row.calls,
        "total_tokens": row.total_tokens,
        "cost_usd": usd(row.cost),
        "unpriced": row.unpriced,
        "seconds": round(row.seconds, 3),
        "cancel_requested_at": time_of(row.cancel_requested_at),
        "created_at": time_of(row.created_at),
        "started_at": time_of(row.started_at),
        "finished_at": time_of(row.finished_at),
    }


def in_detail(row: Evaluation) -> dict[str, Any]:
    """The whole row."""
    return {**in_list(row), "estimate": with_usd(row.estimate), "token_usage": row.token_usage}


def item_in_list(row: EvaluationItem) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "evaluation": str(row.evaluation_id),
        "example": str(row.example_id),
        "position": row.position,
        "scores": row.scores,
        "feedback": row.feedback,
        "error": _error(row),
        "calls": row.calls,
        "total_tokens": row.total_tokens,
        "cost_usd": usd(row.cost),
        "duration_ms": None if row.duration_ms is None else round(row.duration_ms, 3),
        "created_at": time_of(row.created_at),
    }


def item_in_detail(row: EvaluationItem) -> dict[str, Any]:
    """Expects `example` joined."""
    return {
        **item_in_list(row),
        "example_data": row.example.data,
        "output": row.output,
        "token_usage": _usage(row.token_usage),
        "trace": trace(row.trace),
    }


def comparison(found: EvaluationComparison) -> dict[str, Any]:
    pairs = found.pairs
    return {
        "metric": versioned(found.metric),
        "size": found.size,
        "pairs": pairs.n,
        "dropped": found.dropped,
        "baseline": _side(found.baseline),
        "candidate": _side(found.candidate),
        "difference": pairs.difference,
        "low": pairs.low,
        "high": pairs.high,
        "confidence": pairs.confidence,
        "p_value": pairs.p_value,
        "test": pairs.test.value,
        "is_better": pairs.is_better,
        "wins": pairs.wins,
        "losses": pairs.losses,
        "ties": pairs.ties,
        "regressions": [_change(change) for change in found.regressions],
    }


def trace(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    spans = [
        {**{name: part for name, part in span.items() if name != "cost"}, "cost_usd": usd(span["cost"])}
        if "cost" in span
        else span
        for span in value.get("spans", [])
    ]
    return {**value, "spans": spans}


def _score(score: EvaluationScore) -> dict[str, Any]:
    return {
        "metric": versioned(score.metric),
        "mean": score.mean,
        "low": score.low,
        "high": score.high,
        "confidence": score.confidence,
        "n": score.n,
        "errors": score.errors,
        "majority_baseline": score.majority_baseline,
        "backends": score.backends,
    }


def _side(side: Side) -> dict[str, Any]:
    cost = {name: None if value is None else usd(round(value)) for name, value in _spread(side.cost).items()}
    return {
        "evaluation": str(side.evaluation),
        "mean": side.mean,
        "scored": side.scored,
        "cost_usd": cost,
        "unpriced": side.unpriced,
        "duration_ms": _spread(side.duration_ms),
    }


def _spread(spread: Spread) -> dict[str, float | None]:
    return {"mean": spread.mean, "p50": spread.p50, "p95": spread.p95}


def _change(change: Change) -> dict[str, Any]:
    return {
        "example": str(change.example),
        "position": change.position,
        "old": {"score": change.old_score, "output": change.old_output, "feedback": change.old_feedback},
        "new": {"score": change.new_score, "output": change.new_output, "feedback": change.new_feedback},
    }


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    of_metrics = usage.get("metrics")
    told = usage_told(usage)
    return told if of_metrics is None else {**told, "metrics": with_usd(of_metrics)}


def _error(row: EvaluationItem) -> dict[str, str] | None:
    if not row.error_code:
        return None
    return {"code": row.error_code, "message": row.error_message, "module": row.error_module}
