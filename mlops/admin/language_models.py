"""Admin pages of language models."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.enums import ActionVariant

from mlops.admin.base import RecordAdmin, actor_of
from mlops.admin.buttons import button
from mlops.admin.forms import FallbacksDialog, SecretDialog
from mlops.admin.prices import PriceInline
from mlops.models import LanguageModel
from mlops.policies import language_model_policy
from mlops.services import language_models as services
from mlops.types import MATCHER_NAME, MATCHER_NOTICE


def _set_secret(request: HttpRequest, row: LanguageModel, data: dict[str, Any]) -> None:
    services.set_secret(actor=actor_of(request), model=row, value=data["value"], variable=data["variable"])


def _set_fallbacks(request: HttpRequest, row: LanguageModel, data: dict[str, Any]) -> None:
    services.set_fallbacks(actor=actor_of(request), model=row, fallbacks=data["fallbacks"])


def _set_default(request: HttpRequest, row: LanguageModel, data: dict[str, Any]) -> None:
    services.set_default(actor=actor_of(request), model=row)


@admin.register(LanguageModel)
class LanguageModelAdmin(RecordAdmin):
    policy = language_model_policy
    add_action, change_action, delete_action = "create", "change", "delete"
    list_display = ("name", "kind", "is_enabled", "is_default", "secret_kept", "note")
    list_filter = ("kind", "is_enabled")
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "kind", "is_enabled", "is_default", "note")}),
        (_("Connection"), {"fields": ("api_base", "secret_kept", "secret_variable", "fallback_names")}),
        (_("Call"), {"fields": ("parameters", "supports_tools", "supports_json_schema")}),
        (_("Limits"), {"fields": ("timeout_s", "deadline_s", "max_retries", "concurrency_limit")}),
    )
    add_fieldsets = (
        (None, {"fields": ("name", "kind", "api_base", "parameters")}),
        (_("Limits"), {"fields": ("timeout_s", "deadline_s", "max_retries", "concurrency_limit")}),
    )
    readonly_fields = ("is_default", "note", "secret_kept", "secret_variable", "fallback_names")
    inlines = (PriceInline,)
    buttons = ("set_secret", "set_fallbacks", "set_default")

    set_secret = button("set_secret", _("Set secret"), _set_secret, form_class=SecretDialog, icon="key")
    set_fallbacks = button(
        "set_fallbacks",
        _("Set fallbacks"),
        _set_fallbacks,
        action="change",
        form_class=FallbacksDialog,
        icon="alt_route",
    )
    set_default = button(
        "set_default",
        _("Make default"),
        _set_default,
        description=_("Programs that name no language model use this one from now on."),
        available=lambda row: row.is_enabled and not row.is_default,
        icon="star",
        variant=ActionVariant.PRIMARY,
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "name", "kind") if obj else self.readonly_fields

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> LanguageModel:
        model = services.create_language_model(actor=actor_of(request), **fields)
        if not model.prices.exists():
            messages.warning(request, _("No price of it is known: add one, or what it is used for costs nobody knows."))
        return model

    def perform_update(self, request: HttpRequest, row: LanguageModel, fields: dict[str, Any]) -> LanguageModel:
        return services.update_language_model(actor=actor_of(request), model=row, fields=fields)

    def perform_delete(self, request: HttpRequest, row: LanguageModel) -> None:
        services.delete_language_model(actor=actor_of(request), model=row)

    @display(description=_("secret"), boolean=True)  # type: ignore[untyped-decorator]  # unfold has no types
    def secret_kept(self, row: LanguageModel) -> bool:
        return row.has_secret

    @admin.display(description=_("fallbacks"))
    def fallback_names(self, row: LanguageModel) -> str:
        return ", ".join(item.model.name for item in row.fallback_rows.select_related("model")) or "-"

    @admin.display(description=_("note"))
    def note(self, row: LanguageModel) -> str:
        if row.name != MATCHER_NAME:
            return ""
        return str(_(MATCHER_NOTICE))
