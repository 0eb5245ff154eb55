"""The admin pages of evaluations: the score beside what always saying the same scores, progress, items, comparisons."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.fields.json import KeyTransform
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.enums import ActionVariant

from executions.admin.evaluating import add_evaluating_to_programs
from executions.admin.executions import STATE_COLOURS
from executions.admin.trace import pretty, trace_html, usd
from executions.models import Evaluation, EvaluationItem, EvaluationScore
from executions.policies import evaluation_policy
from executions.services import cancel_evaluation, compare_evaluations
from executions.types import FinishReason
from mlops.admin import links
from mlops.admin.base import ServiceAdmin, actor_of
from mlops.admin.buttons import bulk_action, button
from mlops.errors import DomainError
from programs.models import Program

COMPARABLE = 50
RECENT = 5


def _cancel(request: HttpRequest, row: Evaluation, data: dict[str, Any]) -> None:
    cancel_evaluation(actor=actor_of(request), evaluation=row)


def items_of(evaluation: Evaluation) -> str:
    return f"{reverse('admin:executions_evaluationitem_changelist')}?evaluation__id__exact={evaluation.pk}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


@admin.register(Evaluation)
class EvaluationAdmin(ServiceAdmin):
    """Evaluations are read here, compared and cancelled; they are asked for on the page of a program."""

    policy = evaluation_policy
    list_display = ("created_at", "program", "dataset", "score", "scored", "state_label", "cost_text", "user")
    list_filter = (
        "state",
        "finish_reason",
        ("program", admin.RelatedOnlyFieldListFilter),
        ("dataset", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("program", "dataset", "user")
    search_fields = ("=id", "program__name", "dataset__name")
    search_help_text = _("Id, name of the program or of the dataset.")
    ordering = ("-id",)
    buttons = ("cancel",)
    actions = ("cancel_selected",)
    readonly_fields = (
        "summary", "program", "prompt_set", "dataset", "language_model", "backends", "user", "created_at",
        "started_at", "finished_at", "concurrency", "budget_json", "estimate_json", "usage_json",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("summary", "program", "dataset", "user")}),
        (
            _("How"),
            {
                "classes": ("collapse",),
                "fields": (
                    "prompt_set", "language_model", "backends", "concurrency", "budget_json", "estimate_json",
                    "usage_json", "created_at", "started_at", "finished_at",
                ),
            },
        ),
    )  # fmt: skip

    class Media:
        js = ("mlops/follow.js", "executions/evaluation.js")
        css = {"all": ("executions/trace.css", "executions/evaluation.css")}

    cancel = button(
        "cancel", _("Cancel"), _cancel, description=_("It stops within one model call; what was scored stays."),
        done=_("Cancellation asked for."), available=lambda row: not row.is_terminal, icon="cancel",
        variant=ActionVariant.DANGER,
    )  # fmt: skip
    cancel_selected = bulk_action(
        "cancel_selected",
        _("Cancel selected evaluations"),
        lambda request, row: cancel_evaluation(actor=actor_of(request), evaluation=row),
        action="cancel",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.prefetch_related("scores__metric")

    @display(description=_("state"), label=STATE_COLOURS, ordering="state")  # type: ignore[untyped-decorator]
    def state_label(self, row: Evaluation) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @admin.display(description=_("score"))
    def score(self, row: Evaluation) -> str:
        first = next(iter(row.scores.all()), None)
        if first is None or first.mean is None:
            return "-"
        interval = "" if first.low is None else f" ({percent(first.low)} - {percent(first.high)})"
        return f"{first.metric.name}: {percent(first.mean)}{interval}"

    @admin.display(description=_("scored"))
    def scored(self, row: Evaluation) -> str:
        return _now("%(done)d of %(size)d") % {"done": row.done, "size": row.size}

    @admin.display(description=_("cost"))
    def cost_text(self, row: Evaluation) -> str:
        return cost_of(row)

    @admin.display(description=_("result"))
    def summary(self, row: Evaluation) -> SafeString:
        context = {
            "row": row,
            "is_open": not row.is_terminal,
            "is_partial": row.is_terminal and row.done < row.size,
            "reason": row.get_finish_reason_display() if row.finish_reason != FinishReason.FINISHED else "",
            "share": 100 * row.done / max(row.size, 1),
            "scores": [bar_of(score) for score in row.scores.all()],
            "cost": cost_of(row),
            "items": items_of(row),
        }
        return SafeString(render_to_string("executions/admin/evaluation_summary.html", context))

    @admin.display(description=_("budget"))
    def budget_json(self, row: Evaluation) -> SafeString:
        return pretty(_with_usd(row.budget))

    @admin.display(description=_("estimate"))
    def estimate_json(self, row: Evaluation) -> SafeString:
        return pretty(_with_usd(row.estimate))

    @admin.display(description=_("token usage"))
    def usage_json(self, row: Evaluation) -> SafeString:
        return pretty(row.token_usage)


class OutcomeFilter(admin.SimpleListFilter):
    """Of the items of one evaluation: those without a score, and those whose first metric is not content."""

    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("error", _("Error")), ("lost", _("Scored below 1")), ("won", _("Scored 1"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen == "error":
            return queryset.exclude(error_code="")
        if chosen not in ("lost", "won"):
            return queryset
        scores = EvaluationScore.objects.filter(evaluation__in=queryset.order_by().values("evaluation_id")[:1])
        metric = scores.order_by("position").values_list("metric__name", flat=True).first()
        if metric is None:
            return queryset.none()
        scored = queryset.annotate(its_score=KeyTransform(metric, "scores"))
        found: QuerySet[Any] = scored.filter(its_score__lt=1) if chosen == "lost" else scored.filter(its_score__gte=1)
        return found


@admin.register(EvaluationItem)
class EvaluationItemAdmin(ServiceAdmin):
    """Items are read here: example, answer, scores with feedback, trace."""

    policy = evaluation_policy
    list_display = ("position", "scores_text", "feedback_text", "error_code", "total_tokens", "duration")
    list_filter = (OutcomeFilter, ("evaluation", admin.RelatedOnlyFieldListFilter), "error_code")
    list_select_related = ("evaluation",)
    search_fields = ("=id", "=example__id", "=evaluation__id")
    ordering = ("evaluation", "position")
    readonly_fields = (
        "evaluation", "position", "example_json", "output_json", "scores_text", "feedback_text", "error_text",
        "calls", "total_tokens", "cost_text", "duration", "usage_json", "trace_tree",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": readonly_fields[:7]}),
        (_("Usage"), {"classes": ("collapse",), "fields": readonly_fields[7:12]}),
        (_("Trace"), {"fields": readonly_fields[12:]}),
    )

    class Media:
        css = {"all": ("executions/trace.css",)}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.policy.can(request.user, "view", None if obj is None else obj.evaluation)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False  # they are reached from their evaluation

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        return rows.defer("output", "trace", "token_usage") if is_list else rows.select_related("example", "evaluation")

    @admin.display(description=_("scores"))
    def scores_text(self, row: EvaluationItem) -> str:
        return ", ".join(f"{name}: {value:g}" for name, value in row.scores.items()) or "-"

    @admin.display(description=_("feedback"))
    def feedback_text(self, row: EvaluationItem) -> str:
        return "\n".join(row.feedback.values())[:2000] or "-"

    @admin.display(description=_("duration"))
    def duration(self, row: EvaluationItem) -> str:
        return "-" if row.duration_ms is None else f"{row.duration_ms:,.0f} ms"

    @admin.display(description=_("cost"))
    def cost_text(self, row: EvaluationItem) -> str:
        return usd(row.cost)

    @admin.display(description=_("example"))
    def example_json(self, row: EvaluationItem) -> SafeString:
        return pretty(row.example.data)

    @admin.display(description=_("output"))
    def output_json(self, row: EvaluationItem) -> SafeString:
        return pretty(row.output)

    @admin.display(description=_("error"))
    def error_text(self, row: EvaluationItem) -> SafeString | str:
        if not row.error_code:
            return "-"
        return format_html("<strong>{}</strong> {} {}", row.error_code, row.error_module, row.error_message)

    @admin.display(description=_("token usage"))
    def usage_json(self, row: EvaluationItem) -> SafeString:
        return pretty(row.token_usage)

    @admin.display(description=_("trace"))
    def trace_tree(self, row: EvaluationItem) -> SafeString:
        return trace_html(row)


def bar_of(score: EvaluationScore) -> dict[str, Any]:
    """A score as a bar: the mean with its interval, and where the majority baseline stands."""
    low, high = (score.mean if bound is None else bound for bound in (score.low, score.high))
    return {
        "score": score,
        "mean": percent(score.mean),
        "low": percent(score.low),
        "high": percent(score.high),
        "baseline": None if score.majority_baseline is None else percent(score.majority_baseline),
        "mean_at": _at(score.mean),
        "low_at": _at(low),
        "width": max(_at(high) - _at(low), 0.5),
        "baseline_at": _at(score.majority_baseline),
    }


def cost_of(row: Evaluation) -> str:
    known = usd(row.cost)
    if not row.unpriced:
        return known
    return _now("%(known)s and %(n)d items of unknown cost") % {"known": known, "n": row.unpriced}


def comparison_panel(request: HttpRequest, row: Evaluation) -> SafeString | None:
    """A picker of evaluations on the same dataset version, and the comparison with the one that was picked."""
    if not row.is_terminal:
        return None
    others = Evaluation.objects.visible_to(actor_of(request)).filter(dataset=row.dataset_id, finished_at__isnull=False)
    offered = list(others.exclude(pk=row.pk).select_related("program").order_by("-id")[:COMPARABLE])
    if not offered:
        return None
    picked, metric = request.GET.get("with", ""), request.GET.get("metric", "")
    names = [score.metric.name for score in row.scores.select_related("metric")]
    context: dict[str, Any] = {"offered": offered, "picked": picked, "metric": metric, "metrics": names}
    baseline = next((one for one in offered if str(one.pk) == picked), None)
    if baseline is not None:
        chosen = metric if metric in names else names[0]
        try:
            found = compare_evaluations(actor=actor_of(request), baseline=baseline, candidate=row, metric=chosen)
            context |= {"found": found, "points": _points(found.pairs), "figures": _figures(found)}
        except DomainError as error:
            context["refusal"] = error.message
    return SafeString(render_to_string("executions/admin/evaluation_comparison.html", context, request=request))


def recent_panel(request: HttpRequest, program: Program) -> SafeString | None:
    """The latest evaluations of a program, on its page."""
    rows = Evaluation.objects.visible_to(actor_of(request)).filter(program=program).select_related("dataset")
    latest = list(rows.prefetch_related("scores__metric").order_by("-id")[:RECENT])
    if not latest:
        return None
    shown = [{"row": row, "scores": [bar_of(score) for score in row.scores.all()]} for row in latest]
    context = {"rows": shown, "program": program}
    return SafeString(render_to_string("executions/admin/evaluation_recent.html", context))


def add_evaluations_to_pages() -> None:
    add_evaluating_to_programs()
    links.add_panel("executions.evaluation", links.Panel("comparison", _("Comparison"), comparison_panel))
    links.add_panel("programs.program", links.Panel("evaluations", _("Latest evaluations"), recent_panel))


def _points(pairs: Any) -> dict[str, str]:
    """A difference of scores and its interval, in points of a percent."""
    found = {name: getattr(pairs, name) for name in ("difference", "low", "high")}
    return {name: f"{100 * value:+.1f}" for name, value in found.items() if value is not None}


def _figures(found: Any) -> list[dict[str, Any]]:
    """Cost and latency of both sides, beside the quality."""
    sides = (found.baseline, found.candidate)
    rows: list[dict[str, Any]] = [{"name": _("score"), "values": [percent(side.mean) for side in sides]}]
    for key, name in (("mean", _("mean")), ("p50", _("median")), ("p95", _("95th percentile"))):
        costs = [getattr(side.cost, key) for side in sides]
        values = ["-" if cost is None else usd(round(cost)) for cost in costs]
        rows.append({"name": format_html("{}, {}", _("cost"), name), "values": values})
    for key, name in (("mean", _("mean")), ("p50", _("median")), ("p95", _("95th percentile"))):
        times = [getattr(side.duration_ms, key) for side in sides]
        values = ["-" if time is None else f"{time:,.0f} ms" for time in times]
        rows.append({"name": format_html("{}, {}", _("duration"), name), "values": values})
    return rows


def _at(value: float | None) -> float:
    """Where a score stands on a bar from 0 to 1, in percent; scores of other ranges end at its edges."""
    return 0.0 if value is None else 100 * min(max(value, 0.0), 1.0)


def _with_usd(values: dict[str, Any]) -> dict[str, Any]:
    cost = values.get("cost")
    if cost is None:
        return values
    return {**values, "cost": [usd(bound) for bound in cost] if isinstance(cost, list) else usd(cost)}
