"""Datasets in the admin site: imported from files, read, exported, frozen and, while nothing uses them, deleted."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action as unfold_action

from datasets import services
from datasets.admin.forms import ImportForm
from datasets.admin.texts import beginning
from datasets.models import Dataset, Example
from datasets.models.datasets import READY
from datasets.policies import dataset_policy
from datasets.services.exports import offered_formats
from mlops.admin.base import ReadOnlyInline, RecordAdmin, ServiceAdmin, actor_of
from mlops.admin.buttons import button
from mlops.errors import DomainError


@admin.display(description=_("data"))
def beginning_of_data(example: Example) -> SafeString:
    """Every field, the long ones from the beginning: the label is what people look for, and it often comes last."""
    fields = ((name, beginning(str(value))) for name, value in example.data.items())
    return format_html_join("", "<p><strong>{}</strong> {}</p>", fields)


def _freeze(request: HttpRequest, row: Dataset, data: dict[str, Any]) -> None:
    services.freeze_dataset(actor=actor_of(request), dataset=row)


class ExampleInline(ReadOnlyInline):
    model = Example
    policy = dataset_policy
    fields = readonly_fields = ("position", beginning_of_data)
    ordering = ("position",)
    per_page = 10
    hide_title = True


@admin.register(Dataset)
class DatasetAdmin(RecordAdmin):
    policy = dataset_policy
    delete_action = "delete"
    list_display = ("name", "type", "version", "state", "size", "frozen_at", "created_at")
    list_filter = ("type", "state", ("frozen_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "description")
    fields = (
        "name", "type", "version", "state", "size", "export_links", "description", "schema", "content_hash",
        "frozen_at",
    )  # fmt: skip
    readonly_fields = ("version", "state", "size", "export_links", "content_hash", "frozen_at")
    inlines = (ExampleInline,)
    actions_list = ("import_file",)
    buttons = ("freeze",)

    class Media:
        css = {"all": ("datasets/import.css",)}

    freeze = button(
        "freeze", _("Freeze"), _freeze, description=_("Schema and examples stay as they are from now on."),
        available=lambda row: row.frozen_at is None and row.state == READY, icon="lock",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows if request.resolver_match and "object_id" in request.resolver_match.kwargs else _light(rows)

    def perform_delete(self, request: HttpRequest, row: Dataset) -> None:
        services.delete_dataset(actor=actor_of(request), dataset=row)

    @unfold_action(description=_("Import"), url_path="import", icon="upload_file")  # type: ignore[untyped-decorator]  # unfold has no types
    def import_file(self, request: HttpRequest) -> HttpResponse:
        """GET the form, POST a file: on to the page of its import."""
        actor = actor_of(request)
        if not dataset_policy.can(actor, "create"):
            raise PermissionDenied
        form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
        if form.is_valid():
            try:
                job = services.import_dataset(actor=actor, **form.arguments())
                return HttpResponseRedirect(reverse("admin:datasets_import_change", args=[job.pk]))
            except DomainError as error:
                form.refuse(error)
        title = _("Import a dataset")
        context = {**self.admin_site.each_context(request), "title": title, "form": form, "opts": self.model._meta}
        return render(request, "datasets/admin/import.html", context, status=400 if form.errors else 200)

    @admin.display(description=_("export"))
    def export_links(self, row: Dataset) -> SafeString | str:
        if row.state != READY:
            return "-"
        address = reverse("dataset-export", args=[row.pk])
        links = format_html_join("", '<a href="{}?as={}">{}</a>', ((address, kind, kind) for kind in offered_formats()))
        return format_html('<span class="signet-exports">{}</span>', links)


@admin.register(Example)
class ExampleAdmin(ServiceAdmin):
    policy = dataset_policy
    list_display = ("dataset", "position", beginning_of_data)
    list_select_related = ("dataset",)
    list_filter = (("dataset", admin.RelatedOnlyFieldListFilter),)
    ordering = ("dataset", "position")


def _light(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.defer("schema", "statistics")
