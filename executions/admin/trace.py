"""A trace as nested, folded steps; everything a model or a user wrote is escaped."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from executions.models import EvaluationItem, Execution
from mlops.money import as_decimal
from mlops.types import PICO_PER_USD


def usd(pico: int | None) -> str:
    """Pico-dollars for people; what is unknown is called so."""
    return _("unknown") if pico is None else f"${as_decimal(pico, PICO_PER_USD)}"


def pretty(value: Any) -> SafeString:
    """JSON, indented and escaped."""
    if value in (None, {}):
        return SafeString("-")
    return format_html('<pre class="signet-json">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))


def trace_html(execution: Execution | EvaluationItem) -> SafeString:
    """The spans of an execution, or of an item of an evaluation, as a tree."""
    trace = execution.trace or {}
    spans = trace.get("spans", [])
    if not spans:
        return format_html("{}", _("not kept") if trace.get("captured") is False else "-")
    children: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for span in spans:
        children[span.get("parent")].append(span)
    total = max(execution.duration_ms or 0, 0.001)
    context = {"steps": [_step(span, children, total) for span in children[None]], "dropped": trace.get("dropped", 0)}
    return render_to_string("executions/admin/trace.html", context)


def _step(span: dict[str, Any], children: dict[Any, list[dict[str, Any]]], total: float) -> dict[str, Any]:
    """One span with those below it, and its bar in percent of the whole time."""
    begin, length = span["start_ms"] / total * 100, (span.get("duration_ms") or 0) / total * 100
    return {
        **span,
        "children": [_step(child, children, total) for child in children[span["id"]]],
        "left": min(begin, 99),
        "width": max(min(length, 100 - min(begin, 99)), 0.5),
        "input_text": _text(span.get("input")),
        "output_text": _text(span.get("output")),
        "cost_text": usd(span["cost"]) if "cost" in span else "",
        "tokens": (span.get("usage") or {}).get("total", 0),
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
