"""Imports in the admin site: how far one is, and what was wrong with its file."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.enums import ActionVariant

from datasets import services
from datasets.models import Import
from datasets.policies import import_policy
from mlops.admin.base import ServiceAdmin, actor_of
from mlops.admin.buttons import button
from mlops.types import JobState

STATE_COLOURS = {
    JobState.PENDING.value: "info",
    JobState.RUNNING.value: "warning",
    JobState.COMPLETED.value: "success",
    JobState.FAILED.value: "danger",
}


def _cancel(request: HttpRequest, row: Import, data: dict[str, Any]) -> None:
    services.cancel_import(actor=actor_of(request), job=row)


@admin.register(Import)
class ImportAdmin(ServiceAdmin):
    """Imports are watched and cancelled here; a new one begins on the list of what it becomes."""

    policy = import_policy
    list_display = ("created_at", "file_name", "kind", "name", "state_label", "rows", "user")
    list_filter = ("state", "kind", "format")
    list_select_related = ("user",)
    search_fields = ("name", "file_name")
    ordering = ("-id",)
    buttons = ("cancel",)
    fields = readonly_fields = (
        "state_live", "progress_live", "error_text", "dataset", "corpus", "file_name", "file_size", "format",
        "options", "user", "attempt", "created_at", "started_at", "finished_at", "report_table",
    )  # fmt: skip

    class Media:
        js = ("mlops/follow.js", "datasets/import.js")
        css = {"all": ("datasets/import.css",)}

    cancel = button(
        "cancel", _("Cancel"), _cancel, description=_("Nothing of the file remains."),
        done=_("Cancellation asked for."), available=lambda row: not row.is_terminal, icon="cancel",
        variant=ActionVariant.DANGER,
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        is_page = request.resolver_match and "object_id" in request.resolver_match.kwargs
        return rows if is_page else rows.defer("options", "report")

    @display(description=_("state"), label=STATE_COLOURS, ordering="state")  # type: ignore[untyped-decorator]
    def state_label(self, row: Import) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @admin.display(description=_("rows"))
    def rows(self, row: Import) -> str:
        return f"{row.progress['rows']:,}" if "rows" in row.progress else "-"

    @admin.display(description=_("state"))
    def state_live(self, row: Import) -> SafeString:
        """Where changes go while the page is open."""
        if row.is_terminal:
            return format_html("<strong>{}</strong>", row.get_state_display())
        events, detail = (reverse(name, args=[row.pk]) for name in ("import-events", "import-wait"))
        markup = '<strong class="signet-import" data-events="{}" data-detail="{}">{}</strong>'
        return format_html(markup, events, detail, row.get_state_display())

    @admin.display(description=_("progress"))
    def progress_live(self, row: Import) -> SafeString:
        """One bar over all steps: the file is read once to check it and once to store it."""
        markup = (
            '<span class="signet-import-progress" data-words="{}"><progress hidden></progress><span>{}</span></span>'
        )
        return format_html(markup, _("rows, step"), progress_text(row.progress))

    @admin.display(description=_("error"))
    def error_text(self, row: Import) -> SafeString | str:
        if not row.error_code:
            return "-"
        return format_html("<strong>{}</strong> {}", row.error_code, row.error_message)

    @admin.display(description=_("report"))
    def report_table(self, row: Import) -> SafeString | str:
        if not row.report:
            return "-"
        return render_to_string("datasets/admin/report.html", {"report": row.report})


def progress_text(progress: dict[str, Any]) -> str:
    """As the script of the page writes it, too."""
    if "step" not in progress:
        return "-"
    return f"{progress['rows']:,} {_('rows, step')} {progress['step']}/{progress['steps']}"
