"""The admin page of a candidate: the prompts that an optimization tried, as people read them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from executions.admin.trace import usd
from mlops.admin.base import ServiceAdmin, actor_of
from mlops.admin.buttons import button
from optimizations import services
from optimizations.models import Candidate
from optimizations.policies import candidate_policy
from optimizations.types import EXAMPLE_MARK

MAX_DEMOS = 100
"""Demos that a page shows of each module."""


def _adopt(request: HttpRequest, row: Candidate, data: dict[str, Any]) -> str:
    made = services.adopt_candidate(actor=actor_of(request), candidate=row)
    return reverse("admin:programs_program_change", args=[made.pk])


@admin.register(Candidate)
class CandidateAdmin(ServiceAdmin):
    """Candidates are read here, and made drafts by hand."""

    policy = candidate_policy
    list_display = ("optimization", "number", "label", "score", "n", "is_best", "calls", "cost_text", "created_at")
    list_filter = ("is_best",)
    list_select_related = ("optimization",)
    search_fields = ("=optimization__id",)
    search_help_text = _("Id of the optimization.")
    ordering = ("-id",)
    buttons = ("adopt",)
    readonly_fields = (
        "optimization", "number", "label", "score", "n", "scored_on", "is_partial", "is_best", "calls", "cost_text",
        "seconds", "digest", "created_at", "prompts",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("optimization", "number", "label", "score", "n", "scored_on", "is_partial", "is_best")}),
        (_("Prompts"), {"fields": ("prompts",)}),
        (_("Usage"), {"fields": ("calls", "cost_text", "seconds", "digest", "created_at")}),
    )

    class Media:
        css = {"all": ("executions/trace.css", "optimizations/optimization.css")}

    adopt = button(
        "adopt", _("Make a draft"), _adopt, icon="add_circle", done=_("A draft version has these prompts now."),
        description=_("A new draft version of the program with the prompts of this candidate."),
    )  # fmt: skip

    @admin.display(description=_("prompts"))
    def prompts(self, row: Candidate) -> SafeString:
        modules = [
            {
                "key": key,
                "instructions": prompt["instructions"],
                "count": len(prompt["demos"]),
                "demos": [_plain(demo) for demo in prompt["demos"][:MAX_DEMOS]],
            }
            for key, prompt in row.state.items()
        ]
        return SafeString(render_to_string("optimizations/admin/prompts.html", {"modules": modules}))

    @admin.display(description=_("cost"))
    def cost_text(self, row: Candidate) -> str:
        return usd(row.cost)

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        return rows.defer("state") if is_list else rows


def _plain(demo: dict[str, Any]) -> dict[str, Any]:
    """The fields of a demo, and the example that it came from."""
    fields = {name: value for name, value in demo.items() if name not in (EXAMPLE_MARK, "augmented")}
    return {"fields": fields, "example": demo.get(EXAMPLE_MARK, ""), "is_own": bool(demo.get("augmented"))}
