"""The admin pages of optimizations: how far one is, what it tried, and whether that is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.enums import ActionVariant

from executions.admin.evaluations import percent
from executions.admin.executions import STATE_COLOURS
from executions.admin.trace import pretty, usd
from mlops.admin.base import ServiceAdmin, actor_of
from mlops.admin.buttons import bulk_action, button
from optimizations import services
from optimizations.models import Candidate, Optimization
from optimizations.policies import optimization_policy

CHART_WIDTH, CHART_HEIGHT = 480, 80
MAX_SHOWN = 200
"""Candidates in the table of one optimization."""


def _cancel(request: HttpRequest, row: Optimization, data: dict[str, Any]) -> None:
    services.cancel_optimization(actor=actor_of(request), optimization=row)


@admin.register(Optimization)
class OptimizationAdmin(ServiceAdmin):
    """Optimizations are read here, and cancelled; they begin on the page of a program."""

    policy = optimization_policy
    list_display = (
        "created_at", "program", "optimizer", "state_label", "better", "result_link", "calls", "cost_text", "user",
    )  # fmt: skip
    list_filter = ("state", "optimizer", "is_better", ("program", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("program", "user", "result_program")
    search_fields = ("=id", "program__name")
    ordering = ("-id",)
    buttons = ("cancel",)
    actions = ("cancel_selected",)
    readonly_fields = (
        "program", "dataset", "validation_set", "metric", "optimizer", "params_json", "seed", "prompt_model",
        "budget_text", "estimate_text", "warnings_text", "state", "finish_reason", "progress_view", "error_text",
        "outcome", "comparison_table", "result_link", "candidates_table", "calls", "total_tokens", "cost_text",
        "seconds_text", "usage_json", "baseline_link", "best_link", "user", "attempt", "leased_by", "created_at",
        "started_at", "finished_at", "source_kind", "source_id",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("program", "progress_view", "outcome", "error_text", "warnings_text", "result_link")}),
        (_("Before and after"), {"fields": ("comparison_table", "baseline_link", "best_link")}),
        (_("Candidates"), {"fields": ("candidates_table",)}),
        (
            _("Asked for"),
            {
                "fields": (
                    "dataset", "validation_set", "metric", "optimizer", "params_json", "seed", "prompt_model",
                    "budget_text", "estimate_text",
                ),
            },
        ),
        (_("Used by the search"), {"fields": ("calls", "total_tokens", "cost_text", "seconds_text", "usage_json")}),
        (
            _("Provenance"),
            {
                "classes": ("collapse",),
                "fields": (
                    "user", "source_kind", "source_id", "attempt", "leased_by", "created_at", "started_at",
                    "finished_at",
                ),
            },
        ),
    )  # fmt: skip

    class Media:
        js = ("mlops/follow.js", "optimizations/live.js")
        css = {"all": ("executions/trace.css", "optimizations/optimization.css")}

    cancel = button(
        "cancel", _("Cancel"), _cancel, description=_("It stops within one model call; its candidates stay."),
        done=_("Cancellation asked for."), available=lambda row: not row.is_terminal, icon="cancel",
        variant=ActionVariant.DANGER,
    )  # fmt: skip
    cancel_selected = bulk_action(
        "cancel_selected",
        _("Cancel selected optimizations"),
        lambda request, row: services.cancel_optimization(actor=actor_of(request), optimization=row),
        action="cancel",
    )

    @display(description=_("state"), label=STATE_COLOURS, ordering="state")  # type: ignore[untyped-decorator]  # unfold has no types
    def state_label(self, row: Optimization) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @display(description=_("better"), label={"yes": "success", "no": "danger"})  # type: ignore[untyped-decorator]  # unfold has no types
    def better(self, row: Optimization) -> Any:
        if row.is_better is None:
            return "-"
        return ("yes", _("proven")) if row.is_better else ("no", _("not proven"))

    @admin.display(description=_("progress"))
    def progress_view(self, row: Optimization) -> SafeString:
        """Where it stands; while it is not over the page follows it."""
        is_open = not row.is_terminal
        context = {
            "row": row,
            "progress": row.progress,
            "cost": usd(row.progress.get("cost", 0)),
            "events": reverse("optimization-events", args=[row.pk]) if is_open else "",
            "address": reverse("optimization-wait", args=[row.pk]) if is_open else "",
        }
        return SafeString(render_to_string("optimizations/admin/progress.html", context))

    @admin.display(description=_("outcome"))
    def outcome(self, row: Optimization) -> SafeString | str:
        """What came of it, in one sentence and without flattery."""
        if not row.is_terminal:
            return "-"
        return format_html("<strong>{}</strong>", _outcome(row))

    @admin.display(description=_("result"))
    def result_link(self, row: Optimization) -> SafeString | str:
        if row.result_program is None:
            return "-"
        link = _link("programs_program", row.result_program_id, str(row.result_program))
        return format_html("{} ({})", link, row.result_program.get_status_display())

    @admin.display(description=_("comparison"))
    def comparison_table(self, row: Optimization) -> SafeString | str:
        if not row.comparison:
            return "-"
        shown = {name: {**row.comparison[name], "cost": _mean_cost(row.comparison[name])} for name in _SIDES}
        context = {
            "found": {**row.comparison, **_in_percent(row.comparison)},
            **shown,
            "percent": int(row.comparison["confidence"] * 100),
        }
        return SafeString(render_to_string("optimizations/admin/comparison.html", context))

    @admin.display(description=_("candidates"))
    def candidates_table(self, row: Optimization) -> SafeString | str:
        rows = list(row.candidates.defer("state").order_by("number")[:MAX_SHOWN])
        if not rows:
            return "-"
        shown = [{"row": item, "cost": usd(item.cost)} for item in rows]
        context = {"rows": shown, "points": _points(rows), "width": CHART_WIDTH, "height": CHART_HEIGHT}
        return SafeString(render_to_string("optimizations/admin/candidates.html", context))

    @admin.display(description=_("warnings"))
    def warnings_text(self, row: Optimization) -> SafeString | str:
        return format_html_join("", '<p class="signet-notice">{}</p>', ((text,) for text in row.warnings)) or "-"

    @admin.display(description=_("error"))
    def error_text(self, row: Optimization) -> SafeString | str:
        if not row.error_code:
            return "-"
        return format_html("<strong>{}</strong> {}", row.error_code, row.error_message)

    @admin.display(description=_("evaluation before"))
    def baseline_link(self, row: Optimization) -> SafeString | str:
        return _link("executions_evaluation", row.baseline_evaluation_id, _("open"))

    @admin.display(description=_("evaluation after"))
    def best_link(self, row: Optimization) -> SafeString | str:
        return _link("executions_evaluation", row.best_evaluation_id, _("open"))

    @admin.display(description=_("cost"))
    def cost_text(self, row: Optimization) -> str:
        return usd(row.cost)

    @admin.display(description=_("seconds"))
    def seconds_text(self, row: Optimization) -> str:
        return f"{row.seconds:,.1f}"

    @admin.display(description=_("budget"))
    def budget_text(self, row: Optimization) -> SafeString:
        return pretty({name: usd(limit) if name == "cost" else limit for name, limit in row.budget.items()})

    @admin.display(description=_("estimate"))
    def estimate_text(self, row: Optimization) -> SafeString:
        cost = row.estimate.get("cost")
        return pretty({**row.estimate, "cost": None if cost is None else [usd(bound) for bound in cost]})

    @admin.display(description=_("parameters"))
    def params_json(self, row: Optimization) -> SafeString:
        return pretty(row.params)

    @admin.display(description=_("token usage"))
    def usage_json(self, row: Optimization) -> SafeString:
        return pretty(row.token_usage)


_SIDES = ("baseline", "candidate")


def _outcome(row: Optimization) -> Any:
    if row.error_code:
        return _("Failed.")
    if row.state == "cancelled":
        return _("Cancelled. Its candidates stay; each of them can be made a draft.")
    if row.is_better:
        return _("Proven better. Submit and deploy the result on its page.")
    if row.result_program_id is None:
        return _("Nothing was found that differs from the program as it was.")
    if row.is_better is None:
        return _("The result was not judged to the end: nothing is proven.")
    return _("Not proven better: the difference may be chance. More validation examples would tell more.")


def _in_percent(found: Mapping[str, Any]) -> dict[str, str]:
    """The means in percent, as evaluations show them, and their difference in points of a percent."""
    means = {name: percent(found[f"{name}_mean"]) for name in ("old", "new")}
    points = {"points": found["difference"], "points_low": found["low"], "points_high": found["high"]}
    return {**means, **{name: "-" if value is None else f"{100 * value:+.1f}" for name, value in points.items()}}


def _mean_cost(side: Mapping[str, Any]) -> str:
    return usd(None if side["cost"] is None else round(side["cost"]))


def _link(page: str, key: Any, words: Any) -> SafeString | str:
    if key is None:
        return "-"
    try:
        address = reverse(f"admin:{page}_change", args=[key])
    except NoReverseMatch:  # that kind of row has no page here
        return str(key)
    return format_html('<a href="{}">{}</a>', address, words)


def _points(rows: list[Candidate]) -> list[dict[str, Any]]:
    """Where each scored candidate stands in the chart: by number from left to right, by score from 0 to 1."""
    scored = [row for row in rows if row.score is not None]
    last = max((row.number for row in scored), default=0) or 1
    return [
        {
            "x": round(8 + row.number / last * (CHART_WIDTH - 16), 1),
            "y": round(CHART_HEIGHT - 8 - (row.score or 0) * (CHART_HEIGHT - 16), 1),
            "row": row,
        }
        for row in scored
    ]
