"""Pages that are read: prompt versions, prompt sets, deployments."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from mlops.admin.base import RecordAdmin, ServiceAdmin, actor_of
from mlops.admin.buttons import button
from programs import services
from programs.models import Deployment, PromptSet, PromptVersion
from programs.policies import deployment_policy, prompt_set_policy, prompt_version_policy


def _activate(request: HttpRequest, row: PromptVersion, data: dict[str, Any]) -> None:
    services.activate_prompt_version(actor=actor_of(request), prompt_version=row)


@admin.register(PromptVersion)
class PromptVersionAdmin(RecordAdmin):
    policy = prompt_version_policy
    list_display = ("program", "module", "version", "traffic_percentage", "source_kind", "created_at")
    list_filter = ("source_kind",)
    list_select_related = ("module__program",)
    search_fields = ("module__program__name", "module__key", "version")
    fields = (
        "program",
        "module",
        "version",
        "traffic_percentage",
        "prompt_template",
        "demos",
        "performance_metrics",
        "source_kind",
        "source_id",
        "created_at",
    )
    readonly_fields = fields
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

    @admin.display(description=_("program"))
    def program(self, row: PromptVersion) -> str:
        return str(row.module.program)


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
