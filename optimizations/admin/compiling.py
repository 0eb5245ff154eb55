"""What optimizations add to the admin page of a program: buttons to compile it, and what was compiled lately."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from mlops.admin import links
from mlops.admin.base import actor_of
from mlops.admin.buttons import button
from mlops.money import as_decimal
from mlops.types import PICO_PER_USD
from optimizations import services
from optimizations.admin.forms import CompileDialog
from optimizations.models import Optimization
from optimizations.policies import compile_policy
from optimizations.services import OptimizationEstimate
from programs.models import Program

RECENT = 5


def _compile(request: HttpRequest, row: Program, data: dict[str, Any]) -> str:
    started = services.compile_program(actor=actor_of(request), program=row, **CompileDialog.arguments_of(data))
    for warning in started.warnings:
        messages.warning(request, warning)
    return reverse("admin:optimizations_optimization_change", args=[started.pk])


def _estimate(request: HttpRequest, row: Program, data: dict[str, Any]) -> None:
    estimate = services.estimate_optimization(actor=actor_of(request), program=row, **CompileDialog.arguments_of(data))
    messages.info(request, _in_words(estimate))
    for warning in estimate.warnings:
        messages.warning(request, warning)


def _in_words(estimate: OptimizationEstimate) -> str:
    told = estimate.as_json()
    cost = (
        _("unknown") if told["cost"] is None else _between([as_decimal(bound, PICO_PER_USD) for bound in told["cost"]])
    )
    return _("Estimate. Model calls: %(calls)s. Tokens: %(tokens)s. Cost in $: %(cost)s. Seconds: %(seconds)s.") % {
        "calls": _between([f"{bound:,}" for bound in told["calls"]]),
        "tokens": _between([f"{bound:,}" for bound in told["tokens"]]),
        "cost": cost,
        "seconds": _between([f"{bound:,.0f}" for bound in told["seconds"]]),
    }


def _between(bounds: list[str]) -> str:
    low, high = bounds
    return low if low == high else _("%(low)s to %(high)s") % {"low": low, "high": high}


def recent_panel(request: HttpRequest, program: Program) -> SafeString | None:
    rows = Optimization.objects.visible_to(actor_of(request)).light().filter(program__name=program.name)
    shown = list(rows.select_related("program", "result_program").order_by("-id")[:RECENT])
    if not shown:
        return None
    return SafeString(render_to_string("optimizations/admin/recent_panel.html", {"rows": shown, "program": program}))


def add_to_program_page() -> None:
    page = "programs.program"
    links.add_button(
        page, "compile", button(
            "compile", gettext_lazy("Compile"), _compile, policy=compile_policy, form_class=CompileDialog,
            description=gettext_lazy("Look for better prompts on data, within a budget. The result is a draft."),
            done=gettext_lazy("The compile waits for a worker."), icon="auto_awesome",
        ), menu=links.IMPROVE,
    )  # fmt: skip
    links.add_button(
        page, "estimate_compile", button(
            "estimate_compile", gettext_lazy("Estimate a compile"), _estimate, action="compile", policy=compile_policy,
            form_class=CompileDialog, description=gettext_lazy("What a compile would take. Nothing is started."),
            done=gettext_lazy("Nothing was started."), icon="calculate",
        ), menu=links.IMPROVE,
    )  # fmt: skip
    links.add_panel(page, links.Panel("optimizations", gettext_lazy("Latest optimizations"), recent_panel))
