"""Usage by day as charts: what the charts of django-unfold draw, given to them in attributes of their canvas."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from django.utils.translation import gettext as _

from executions.selectors.usage import Figures, UsageReport
from mlops.types import PICO_PER_USD

GREY = "#9ca3af"
COLOURS = {"violet": "#9333ea", "amber": "#f59e0b", "teal": "#14b8a6", "red": "#ef4444", "blue": "#3b82f6"}


def cost_chart(report: UsageReport) -> dict[str, str]:
    """Dollars per day, stacked by what they were spent for."""
    return _chart(
        _("Cost per day, US dollars"),
        "bar",
        report,
        {
            _("executions"): ("violet", lambda day: day.execution_cost / PICO_PER_USD),
            _("evaluations"): ("amber", lambda day: day.evaluation_cost / PICO_PER_USD),
            _("optimizations"): ("teal", lambda day: day.optimization_cost / PICO_PER_USD),
        },
    )


def executions_chart(report: UsageReport) -> dict[str, str]:
    """Executions per day, and those of them that failed."""
    return _chart(
        _("Executions per day"),
        "bar",
        report,
        {
            _("not failed"): ("blue", lambda day: day.executions - day.failed),
            _("failed"): ("red", lambda day: day.failed),
        },
    )


def latency_chart(report: UsageReport) -> dict[str, str]:
    """Milliseconds that half of the executions of a day took at most, and 95 of 100."""
    return _chart(
        _("Latency, ms"),
        "line",
        report,
        {
            "p50": ("blue", lambda day: day.latency and round(day.latency.p50_ms)),
            "p95": ("violet", lambda day: day.latency and round(day.latency.p95_ms)),
        },
    )


def _chart(
    title: str, kind: str, report: UsageReport, series: dict[str, tuple[str, Callable[[Figures], Any]]]
) -> dict[str, str]:
    known = {group.of["day"]: group.figures for group in report.groups}
    days = _days(report.query.since, report.query.until)
    datasets = [
        {
            "label": label,
            "data": [value_of(known.get(day, Figures())) for day in days],
            "backgroundColor": COLOURS[colour],
            "borderColor": COLOURS[colour],
            "spanGaps": True,
        }
        for label, (colour, value_of) in series.items()
    ]
    data = {"labels": [day.isoformat() for day in days], "datasets": datasets}
    return {"title": title, "kind": kind, "data": json.dumps(data), "options": json.dumps(_options(kind == "bar"))}


def _options(is_stacked: bool) -> dict[str, Any]:
    axis = {"stacked": is_stacked, "ticks": {"color": GREY, "maxTicksLimit": 12}, "grid": {"tickWidth": 0}}
    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "datasets": {"bar": {"maxBarThickness": 24}, "line": {"borderWidth": 2, "pointRadius": 2}},
        "plugins": {"legend": {"align": "end", "labels": {"color": GREY, "boxWidth": 10, "boxHeight": 10}}},
        "scales": {"x": axis, "y": {**axis, "beginAtZero": True}},
    }


def _days(since: date, until: date) -> list[date]:
    return [since + timedelta(days=number) for number in range((until - since).days)]
