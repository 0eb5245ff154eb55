"""Repricings in the admin site: the difference is looked at here, and made true by a button."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.enums import ActionVariant

from executions.models import CostCorrection, Repricing, RepricingDay
from executions.policies import repricing_policy
from executions.services.repricing import apply_repricing, cancel_repricing, reprice
from mlops.admin.base import ReadOnlyInline, ServiceAdmin, actor_of
from mlops.admin.buttons import button
from mlops.money import as_decimal
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD, JobState

STATE_COLOURS = {
    JobState.PENDING.value: "info",
    JobState.RUNNING.value: "warning",
    JobState.COMPLETED.value: "success",
    JobState.FAILED.value: "danger",
}


def usd(pico: int | None) -> str:
    return "-" if pico is None else f"$ {as_decimal(pico, PICO_PER_USD)}"


def _apply(request: HttpRequest, row: Repricing, data: dict[str, Any]) -> str:
    job = apply_repricing(actor=actor_of(request), repricing=row)
    return reverse("admin:executions_repricing_change", args=[job.pk])


def _cancel(request: HttpRequest, row: Repricing, data: dict[str, Any]) -> None:
    cancel_repricing(actor=actor_of(request), repricing=row)


class _Costs:
    """Costs as people read them."""

    @admin.display(description=_("cost before"))
    def before_text(self, row: Any) -> str:
        return usd(row.cost_before)

    @admin.display(description=_("cost after"))
    def after_text(self, row: Any) -> str:
        return usd(row.cost_after)


class DayInline(_Costs, ReadOnlyInline):
    model = RepricingDay
    policy = repricing_policy
    verbose_name_plural = _("Difference per day and language model")
    fields = readonly_fields = (
        "day", "language_model", "executions", "before_text", "after_text", "priced", "unpriced",
    )  # fmt: skip
    per_page = 31


class RepricingForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable at run time
    class Meta:
        model = Repricing
        fields = ("since", "until", "language_model", "program", "refunds_credits")


@admin.register(Repricing)
class RepricingAdmin(_Costs, ServiceAdmin):
    """A new one only shows the difference."""

    policy = repricing_policy
    add_action = "start"
    form = RepricingForm
    list_display = ("created_at", "state_label", "dry_run", "period", "changed", "before_text", "after_text", "user")
    list_filter = ("state", "dry_run")
    list_select_related = ("user",)
    ordering = ("-id",)
    inlines = (DayInline,)
    buttons = ("apply", "cancel")
    fields = readonly_fields = (
        "state_label", "progress_text", "error_text", "dry_run", "since", "until", "language_model", "program",
        "refunds_credits", "prices_as_of", "preview", "changed", "before_text", "after_text", "priced", "unpriced",
        "overcharged", "undercharged", "user", "created_at", "finished_at",
    )  # fmt: skip
    add_fieldsets = ((None, {"fields": ("since", "until", "language_model", "program", "refunds_credits")}),)

    apply = button(
        "apply",
        _("Apply"),
        _apply,
        description=_("The executions get the costs that are shown; what they cost before is kept."),
        available=lambda row: row.is_applicable and not hasattr(row, "applied_by"),
        icon="done_all",
        variant=ActionVariant.PRIMARY,
    )
    cancel = button(
        "cancel",
        _("Cancel"),
        _cancel,
        description=_("What was corrected until then stays corrected."),
        available=lambda row: not row.is_terminal,
        icon="cancel",
        variant=ActionVariant.DANGER,
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.readonly_fields if obj else ()

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> Repricing:
        return reprice(actor=actor_of(request), **fields)

    @display(description=_("state"), label=STATE_COLOURS, ordering="state")  # type: ignore[untyped-decorator]
    def state_label(self, row: Repricing) -> tuple[str, str]:
        return row.state, row.get_state_display()

    @admin.display(description=_("progress"))
    def progress_text(self, row: Repricing) -> str:
        done, whole = row.progress.get("done", 0), row.progress.get("of", 0)
        return f"{done:,} / {whole:,}" if whole else "-"

    @admin.display(description=_("error"))
    def error_text(self, row: Repricing) -> str:
        return f"{row.error_code}: {row.error_message}" if row.error_code else "-"

    @admin.display(description=_("period"))
    def period(self, row: Repricing) -> str:
        return str(row)

    @admin.display(description=_("credits charged too much"))
    def overcharged(self, row: Repricing) -> str:
        return as_decimal(row.credits_overcharged, MICRO_PER_CREDIT)

    @admin.display(description=_("credits charged too little"))
    def undercharged(self, row: Repricing) -> str:
        return as_decimal(row.credits_undercharged, MICRO_PER_CREDIT)


@admin.register(CostCorrection)
class CostCorrectionAdmin(_Costs, ServiceAdmin):
    """What executions cost before and after; found by the id of an execution or of a repricing."""

    policy = repricing_policy
    list_display = ("execution_id", "repricing", "before_text", "after_text", "refunded")
    list_select_related = ("repricing",)
    search_fields = ("=execution__id", "=repricing__id")
    ordering = ("-id",)
    fields = readonly_fields = (
        "execution", "repricing", "before_text", "after_text", "prices_before", "prices_after", "refunded",
    )  # fmt: skip

    @admin.display(description=_("credits refunded"))
    def refunded(self, row: CostCorrection) -> str:
        return as_decimal(row.credits_refunded, MICRO_PER_CREDIT)
