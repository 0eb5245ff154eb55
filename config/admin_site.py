"""The sidebar of the admin: what there is to see, in the order in which people work with it."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext as _


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Groups of links to what this person may open; models without an admin page are left out."""
    groups = [
        (
            _("Programs"),
            {
                "programs.program": "account_tree",
                "programs.signature": "edit_note",
                "programs.promptversion": "chat",
                "programs.deployment": "rocket_launch",
            },
        ),
        (
            _("Executions"),
            {
                "executions.execution": "play_circle",
                "executions.feedback": "thumb_up",
                "executions.usageday": "monitoring",
            },
        ),
        (
            _("Data"),
            {"datasets.dataset": "dataset", "datasets.corpus": "library_books", "datasets.import": "upload_file"},
        ),
        (
            _("Improvement"),
            {
                "executions.metric": "straighten",
                "executions.evaluation": "leaderboard",
                "optimizations.optimization": "auto_awesome",
                "optimizations.schedule": "schedule",
            },
        ),
        (
            _("Language models"),
            {"mlops.languagemodel": "neurology", "mlops.modelprice": "sell", "executions.repricing": "price_change"},
        ),
        (
            _("People"),
            {
                "mlops.user": "person",
                "auth.group": "group",
                "mlops.apitoken": "key",
                "mlops.creditentry": "account_balance_wallet",
                "mlops.budget": "savings",
                "axes.accessattempt": "lock_person",
            },
        ),
    ]
    filled = [(title, _links(request, icons)) for title, icons in groups]
    if request.user.is_staff:
        filled.append((_("Interfaces"), _tried_out()))
    return [{"title": title, "separator": True, "items": items} for title, items in filled if items]


def _tried_out() -> list[dict[str, Any]]:
    """Pages on which the interfaces for programs are looked up and called."""
    return [
        {"title": "GraphQL", "icon": "hub", "link": reverse("graphql")},
        {"title": "REST", "icon": "api", "link": reverse("docs")},
    ]


def _links(request: HttpRequest, icons: dict[str, str]) -> list[dict[str, Any]]:
    return [link for label, icon in icons.items() if (link := _link(request, label, icon)) is not None]


def _link(request: HttpRequest, label: str, icon: str) -> dict[str, Any] | None:
    app_label, _dot, name = label.partition(".")
    try:
        model = apps.get_model(app_label, name)
    except LookupError:
        return None
    page = admin.site._registry.get(model)
    if page is None or not page.has_view_permission(request):
        return None
    address = reverse(f"admin:{app_label}_{name}_changelist")
    return {"title": capfirst(str(model._meta.verbose_name_plural)), "icon": icon, "link": address}
