"""The timeline of a program in the admin: the latest events on its page, all of them on one of their own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from mlops.admin import links
from mlops.admin.base import actor_of
from mlops.moments import moment_of
from mlops.policies import history_policy
from programs.models import Program
from programs.selectors import Event, timeline

LATEST = 8
PAGE = 100


def timeline_panel(request: HttpRequest, program: Program) -> SafeString | None:
    if not history_policy.can(actor_of(request), "view", program):
        return None
    events = timeline(actor=actor_of(request), program=program, size=LATEST)
    context = {"events": _linked(events), "more": reverse("admin:programs_program_timeline", args=[program.pk])}
    return SafeString(render_to_string("programs/admin/timeline_panel.html", context, request=request))


def timeline_page(request: HttpRequest, program: Program) -> HttpResponse:
    """With `?before=<time>` what happened before it."""
    if not history_policy.can(actor_of(request), "view", program):
        raise PermissionDenied
    events = timeline(actor=actor_of(request), program=program, before=_before(request), size=PAGE + 1)
    shown = events[:PAGE]
    context = {
        **admin.site.each_context(request),
        "title": _("Timeline: %(name)s") % {"name": program.name},
        "opts": Program._meta,
        "original": program,
        "events": _linked(shown),
        "program_address": reverse("admin:programs_program_change", args=[program.pk]),
        "older": shown[-1] if len(events) > PAGE else None,
    }
    return render(request, "programs/admin/timeline.html", context)


def add_to_program_page() -> None:
    panel = links.Panel("timeline", gettext_lazy("Timeline"), timeline_panel, is_last=True)
    links.add_panel("programs.program", panel)


def _before(request: HttpRequest) -> tuple[datetime, str] | None:
    """Where the page begins; the first one for what is no such place."""
    try:
        return moment_of(request.GET.get("before", "")), request.GET.get("id", "")
    except ValueError:
        return None


def _linked(events: Iterable[Event]) -> list[dict[str, Any]]:
    pages = {model._meta.model_name: model._meta for model in admin.site._registry}
    return [{"event": event, "address": _address(pages.get(event.record), event)} for event in events]


def _address(meta: Any, event: Event) -> str:
    """The page of the state that an edit led to, or of the row; empty where there is none."""
    if meta is None:
        return ""
    base = f"admin:{meta.app_label}_{meta.model_name}"
    try:
        if event.state is not None:
            return reverse(f"{base}_simple_history", args=[event.record_id, event.state])
        return reverse(f"{base}_change", args=[event.record_id])
    except NoReverseMatch:
        return ""
