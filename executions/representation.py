"""Executions as JSON: one shape for the lean route, views, lists, events and GraphQL; and money as it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executions.models import Execution
from mlops.money import as_decimal
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD


def usd(pico: float | None) -> str | None:
    """Pico-dollars as a decimal string of dollars; unknown stays unknown."""
    return None if pico is None else as_decimal(round(pico), PICO_PER_USD)


def in_list(execution: Execution) -> dict[str, Any]:
    """A row of a list: without the heavy columns. Expects `program` and `user` joined."""
    return {
        "id": str(execution.pk),
        "program": {
            "id": str(execution.program_id),
            "name": execution.program.name,
            "version": execution.program.version,
        },
        "prompt_set": str(execution.prompt_set_id),
        "user": str(execution.user_id),
        "state": execution.state,
        "mode": execution.mode,
        "source": execution.source,
        "assignment_key": execution.assignment_key,
        "replay_of": None if execution.replay_of_id is None else str(execution.replay_of_id),
        "error": _error(execution),
        "flags": execution.flags,
        "notice": execution.notice,
        "token_usage": usage_told(execution.token_usage),
        "cost_usd": usd(execution.cost),
        "credits_used": as_decimal(execution.credits_used, MICRO_PER_CREDIT),
        "duration_ms": _rounded(execution.duration_ms),
        "attempt": execution.attempt,
        "revision": execution.revision,
        "cancel_requested_at": time_of(execution.cancel_requested_at),
        "created_at": time_of(execution.created_at),
        "started_at": time_of(execution.started_at),
        "finished_at": time_of(execution.finished_at),
    }


def in_detail(execution: Execution) -> dict[str, Any]:
    """The whole row."""
    return {
        **in_list(execution),
        "input": execution.input,
        "output": execution.output,
        "language_models": execution.language_models,
        "prices": execution.prices,
        "waited_ms": _rounded(execution.waited_ms),
        "trace": trace_told(execution.trace),
    }


def usage_told(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Usage with the cost of each language model as a decimal string."""
    if "by_model" not in usage:
        return dict(usage)
    return {**usage, "by_model": {name: _model_told(lines) for name, lines in usage["by_model"].items()}}


def _model_told(lines: Mapping[str, Any]) -> dict[str, Any]:
    """The lines of one language model; `known_cost_usd` is the known part of a cost that is unknown."""
    told = {line: tokens for line, tokens in lines.items() if line not in ("cost", "known_cost")}
    told["cost_usd"] = usd(lines.get("cost"))
    return {**told, "known_cost_usd": usd(lines["known_cost"])} if "known_cost" in lines else told


def _error(execution: Execution) -> dict[str, str] | None:
    if not execution.error_code:
        return None
    return {"code": execution.error_code, "message": execution.error_message, "module": execution.error_module}


def trace_told(trace: dict[str, Any] | None) -> dict[str, Any] | None:
    """Money leaves as decimal strings, also inside of spans."""
    if trace is None:
        return None
    spans = [
        {**{name: value for name, value in span.items() if name != "cost"}, "cost_usd": usd(span["cost"])}
        if "cost" in span
        else span
        for span in trace.get("spans", [])
    ]
    return {**trace, "spans": spans}


def time_of(value: Any) -> str | None:
    """A moment as ISO 8601 in UTC, or None."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def with_usd(values: Mapping[str, Any]) -> dict[str, Any]:
    """Limits or an estimate, with the cost in dollars under a name that says so."""
    told = {name: value for name, value in values.items() if name != "cost"}
    if "cost" not in values:
        return told
    cost = values["cost"]
    return {**told, "cost_usd": [usd(amount) for amount in cost] if isinstance(cost, list) else usd(cost)}


def versioned(row: Any) -> dict[str, Any]:
    """Which version of what a row refers to."""
    return {"id": str(row.pk), "name": row.name, "version": row.version}
