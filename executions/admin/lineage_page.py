"""Lineage in the admin site: what an execution came from, and on the pages of those the executions that used them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from executions.models import Execution
from executions.selectors.lineage import (
    executions_of,
    lineage_of,
    sets_with_dataset,
    sets_with_demo,
    sets_with_example,
    sets_with_prompt_version,
)
from mlops.admin import links
from mlops.admin.base import actor_of

RECENT = 10
SHOWN_DEMOS = 50

_USED: dict[str, Callable[[Any, Any], Any]] = {
    "programs.promptversion": sets_with_prompt_version,
    "datasets.example": sets_with_example,
    "datasets.dataset": sets_with_dataset,
}


class DemoFilter(admin.SimpleListFilter):
    """Executions that used a demo; where a lineage leads to, and offered only there."""

    title = _("demo")
    parameter_name = "demo"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        digest = request.GET.get(self.parameter_name)
        return [(digest, digest[:12])] if digest else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        digest = self.value()
        return executions_of(queryset, sets_with_demo(actor_of(request), digest)) if digest else queryset


def lineage_panel(request: HttpRequest, execution: Execution) -> SafeString:
    lineage = lineage_of(actor=actor_of(request), execution=execution)
    prompts = [(prompt, lineage.demos_of(prompt)) for prompt in lineage.prompts]
    shown = [(prompt, demos[:SHOWN_DEMOS], len(demos)) for prompt, demos in prompts]
    context = {"lineage": lineage, "prompts": shown}
    return SafeString(render_to_string("executions/admin/lineage_panel.html", context, request=request))


def used_by_panel(model: str) -> Callable[[HttpRequest, Any], SafeString | None]:
    """The latest executions that used a row of `model`."""

    def render(request: HttpRequest, row: Any) -> SafeString | None:
        actor = actor_of(request)
        visible = Execution.objects.visible_to(actor).light().select_related("program")
        used = list(executions_of(visible, _USED[model](actor, row.pk)).order_by("-id")[:RECENT])
        if not used:
            return None
        return SafeString(render_to_string("executions/admin/used_by_panel.html", {"executions": used}))

    return render


def add_lineage_to_pages() -> None:
    links.add_panel("executions.execution", links.Panel("lineage", _("Lineage"), lineage_panel))
    for model in _USED:
        links.add_panel(model, links.Panel("used_by", _("Executions that used it"), used_by_panel(model)))
