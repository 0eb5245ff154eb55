"""Admin pages of budgets: how far each is used up, and its past periods."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from mlops.admin.base import ReadOnlyInline, RecordAdmin, actor_of
from mlops.admin.forms import ScaledDecimalField
from mlops.models import Budget, BudgetPeriod
from mlops.money import as_decimal
from mlops.policies import budget_policy
from mlops.selectors.budgets import standing_of, with_standing
from mlops.services.budgets import create_budget, delete_budget, update_budget
from mlops.types import PICO_PER_USD


def _usd(amount: int | None) -> str:
    return "-" if amount is None else f"${as_decimal(amount, PICO_PER_USD)}"


class BudgetForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    limit = ScaledDecimalField(scale=PICO_PER_USD, label=_("Limit ($ per period)"))

    class Meta:
        model = Budget
        fields = ("scope", "user", "program", "language_model", "period", "limit", "warn_percent", "is_enabled")

    def _get_validation_exclusions(self) -> set[str]:
        """The service checks limit, target and uniqueness, and has the words for it."""
        return {field.name for field in Budget._meta.fields}


class PeriodInline(ReadOnlyInline):
    model = BudgetPeriod
    policy = budget_policy
    verbose_name_plural = _("periods")
    show_change_link = False
    fields = readonly_fields = (
        "starts_on", "spent_text", "in_doubt_text", "allocated_text", "unpriced", "warned_at", "blocked_at",
    )  # fmt: skip

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return budget_policy.can(request.user, "view")

    @admin.display(description=_("spent"))
    def spent_text(self, row: BudgetPeriod) -> str:
        return _usd(row.spent)

    @admin.display(description=_("in doubt"))
    def in_doubt_text(self, row: BudgetPeriod) -> str:
        return _usd(row.in_doubt)

    @admin.display(description=_("allocated"))
    def allocated_text(self, row: BudgetPeriod) -> str:
        return _usd(row.allocated)


@admin.register(Budget)
class BudgetAdmin(RecordAdmin):
    policy = budget_policy
    add_action, change_action, delete_action = "create", "change", "delete"
    form = BudgetForm
    list_display = ("scope", "target_name", "period", "limit_text", "used", "forecast_text", "is_enabled")
    list_filter = ("scope", "period", "is_enabled")
    search_fields = ("program", "user__username", "language_model__name")
    fieldsets = (
        (None, {"fields": ("scope", "target_name", "period", "limit", "warn_percent", "is_enabled")}),
        (_("Present period"), {"fields": ("used", "left_text", "held_text", "forecast_text", "unpriced", "resets_at")}),
    )
    add_fieldsets = (
        (_("Whose spending"), {"fields": ("scope", "user", "program", "language_model")}),
        (_("How much"), {"fields": ("period", "limit", "warn_percent", "is_enabled")}),
    )
    readonly_fields = ("target_name", "used", "left_text", "held_text", "forecast_text", "unpriced", "resets_at")
    inlines = (PeriodInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_standing(super().get_queryset(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "scope", "period") if obj else self.readonly_fields

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> Budget:
        return create_budget(actor=actor_of(request), **fields)

    def perform_update(self, request: HttpRequest, row: Budget, fields: dict[str, Any]) -> Budget:
        return update_budget(actor=actor_of(request), budget=row, fields=fields)

    def perform_delete(self, request: HttpRequest, row: Budget) -> None:
        delete_budget(actor=actor_of(request), budget=row)

    @admin.display(description=_("target"))
    def target_name(self, row: Budget) -> str:
        return row.target_name or "-"

    @admin.display(description=_("limit"))
    def limit_text(self, row: Budget) -> str:
        return _usd(row.limit)

    @admin.display(description=_("spent"))
    def used(self, row: Budget) -> SafeString:
        standing = standing_of(row)
        words = f"{_usd(standing.spent)} ({standing.percent} %)"
        bar = '<progress max="100" value="{}" aria-label="{}"></progress> {}'
        return format_html(bar, min(standing.percent, 100), words, words)

    @admin.display(description=_("left"))
    def left_text(self, row: Budget) -> str:
        return _usd(standing_of(row).left)

    @admin.display(description=_("held by processes"))
    def held_text(self, row: Budget) -> str:
        standing = standing_of(row)
        return f"{_usd(standing.held)} / {standing.open_slices}"

    @admin.display(description=_("forecast"))
    def forecast_text(self, row: Budget) -> str:
        return _usd(standing_of(row).forecast)

    @admin.display(description=_("executions of unknown cost"))
    def unpriced(self, row: Budget) -> int:
        return standing_of(row).unpriced

    @admin.display(description=_("renewed at"))
    def resets_at(self, row: Budget) -> str:
        return f"{standing_of(row).resets_at:%Y-%m-%d %H:%M} UTC"
