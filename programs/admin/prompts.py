"""Pages of prompts and deployments. A prompt version never changes: editing one by hand makes the next one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from mlops.admin.base import RecordAdmin, ServiceAdmin, actor_of
from mlops.admin.buttons import button
from programs import services
from programs.admin.forms import PromptVersionForm
from programs.admin.scores import scores_table
from programs.models import Deployment, Module, PromptSet, PromptVersion
from programs.policies import deployment_policy, prompt_set_policy, prompt_version_policy
from programs.types import PREDICTING_KINDS


def _activate(request: HttpRequest, row: PromptVersion, data: dict[str, Any]) -> None:
    services.activate_prompt_version(actor=actor_of(request), prompt_version=row)


@admin.register(PromptVersion)
class PromptVersionAdmin(RecordAdmin):
    policy = prompt_version_policy
    add_action = "create"
    form = PromptVersionForm
    list_display = ("program", "module", "version", "traffic_percentage", "source_kind", "created_at")
    list_filter = ("source_kind",)
    list_select_related = ("module__program",)
    search_fields = ("module__program__name", "module__key", "version")
    fields = (
        "program",
        "module",
        "version",
        "traffic_percentage",
        "edit",
        "prompt_template",
        "demos",
        "scores",
        "source_kind",
        "source_id",
        "created_at",
    )
    written = ("module", "version", "prompt_template", "demos", "activate_now")
    buttons = ("activate",)

    activate = button(
        "activate",
        _("Activate"),
        _activate,
        description=_("This version gets all the traffic of its module."),
        available=lambda row: row.traffic_percentage != 100,
        icon="play_arrow",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        is_list = getattr(request.resolver_match, "url_name", "").endswith("_changelist")
        return rows.defer("demos", "prompt_template", "performance_metrics") if is_list else rows

    def get_fields(self, request: HttpRequest, obj: PromptVersion | None = None) -> tuple[str, ...]:
        return self.fields if obj else self.written

    def get_readonly_fields(self, request: HttpRequest, obj: PromptVersion | None = None) -> tuple[str, ...]:
        return self.fields if obj else ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """`?source=` a prompt version: begin with its content."""
        source = self.get_object(request, request.GET.get("source", ""))
        if source is None:
            return {}
        return {"module": source.module_id, "prompt_template": source.prompt_template, "demos": source.demos}

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        if db_field.name == "module":
            shown = Module.objects.visible_to(actor_of(request)).select_related("program")
            options["queryset"] = shown.filter(kind__in=PREDICTING_KINDS).order_by("program__name", "-program__version")
        return super().formfield_for_foreignkey(db_field, request, **options)

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> PromptVersion:
        activate_now = fields.pop("activate_now")
        with transaction.atomic():
            created = services.create_prompt_version(actor=actor_of(request), **fields)
            if activate_now:
                created = services.activate_prompt_version(actor=actor_of(request), prompt_version=created)
        return created

    @admin.display(description=_("edit"))
    def edit(self, row: PromptVersion) -> SafeString:
        address = reverse("admin:programs_promptversion_add", query={"source": str(row.pk)})
        return format_html('<a href="{}">{}</a>', address, _("Edit as a new version"))

    @admin.display(description=_("program"))
    def program(self, row: PromptVersion) -> str:
        return str(row.module.program)

    @admin.display(description=_("scores"))
    def scores(self, row: PromptVersion) -> str:
        return scores_table(row.performance_metrics)


@admin.register(PromptSet)
class PromptSetAdmin(ServiceAdmin):
    policy = prompt_set_policy
    list_display = ("program", "digest", "created_at")
    list_select_related = ("program",)
    search_fields = ("program__name", "digest")
    fields = ("program", "digest", "prompt_versions", "created_at")
    readonly_fields = fields

    @admin.display(description=_("prompt versions"))
    def prompt_versions(self, row: PromptSet) -> str:
        return ", ".join(str(version) for version in row.versions.select_related("module"))


@admin.register(Deployment)
class DeploymentAdmin(ServiceAdmin):
    policy = deployment_policy
    list_display = ("program", "replaced", "user", "reason", "created_at")
    list_select_related = ("program", "replaced", "user")
    list_filter = ("created_at",)
    search_fields = ("program__name", "reason")
    fields = ("program", "replaced", "user", "reason", "created_at")
    readonly_fields = fields
