"""The price book in the admin site, and its import from LiteLLM's map."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action as unfold_action

from mlops.admin.base import ReadOnlyInline, RecordAdmin, actor_of
from mlops.admin.forms import PriceForm
from mlops.errors import DomainError
from mlops.models import ModelPrice
from mlops.money import as_decimal
from mlops.policies import language_model_policy
from mlops.services.price_imports import ImportedPrice, Outcome, import_prices
from mlops.services.prices import add_price, delete_price
from mlops.types import PICO_PER_USD, Price

MICRO = 10**6


def _per_million(figure: int | None) -> str:
    return "-" if figure is None else as_decimal(figure, MICRO)


class _Prices:
    """Prices as people read them."""

    @admin.display(description=_("input $/M"))
    def input_text(self, row: ModelPrice) -> str:
        return _per_million(row.input_price)

    @admin.display(description=_("cached $/M"))
    def cached_text(self, row: ModelPrice) -> str:
        return _per_million(row.cached_input_price)

    @admin.display(description=_("cache write $/M"))
    def cache_write_text(self, row: ModelPrice) -> str:
        return _per_million(row.cache_write_price)

    @admin.display(description=_("output $/M"))
    def output_text(self, row: ModelPrice) -> str:
        return _per_million(row.output_price)

    @admin.display(description=_("reasoning $/M"))
    def reasoning_text(self, row: ModelPrice) -> str:
        return _per_million(row.reasoning_price)

    @admin.display(description=_("$ per request"))
    def request_text(self, row: ModelPrice) -> str:
        return as_decimal(row.request_price, PICO_PER_USD)


LINES = ("input_text", "cached_text", "cache_write_text", "output_text", "reasoning_text", "request_text")


class PriceInline(_Prices, ReadOnlyInline):
    model = ModelPrice
    policy = language_model_policy
    fields = readonly_fields = ("valid_from", *LINES, "source")


@admin.register(ModelPrice)
class ModelPriceAdmin(_Prices, RecordAdmin):
    """A new price is a new row: what was charged keeps the row that it was charged by."""

    policy = language_model_policy
    add_action, delete_action = "add_price", "delete_price"
    form = PriceForm
    list_display = ("model", "valid_from", *LINES, "source")
    list_select_related = ("model",)
    list_filter = ("model", "source")
    fields = ("model", "valid_from", *LINES, "input_limit", "source", "source_date", "notice")
    add_fieldsets = (
        (None, {"fields": ("model", "valid_from")}),
        (_("Input"), {"fields": ("input_price", "cached_input_price", "cache_write_price", "input_limit")}),
        (_("Output"), {"fields": ("output_price", "reasoning_price")}),
        (_("More"), {"fields": ("request_price", "source")}),
    )
    readonly_fields = (*LINES, "notice")
    actions_list = ("import_prices",)

    def perform_create(self, request: HttpRequest, fields: dict[str, Any]) -> ModelPrice:
        given = {name: value for name, value in fields.items() if value is not None}
        row = add_price(actor=actor_of(request), **given)
        if row.is_back_dated:
            messages.warning(request, row.notice)
        return row

    def perform_delete(self, request: HttpRequest, row: ModelPrice) -> None:
        delete_price(actor=actor_of(request), price=row)

    def has_import_permission(self, request: HttpRequest) -> bool:
        """Asked by the button on the list."""
        return language_model_policy.can(request.user, "import_prices")

    @unfold_action(  # type: ignore[untyped-decorator]  # unfold has no types
        description=_("Import list prices"), url_path="import", icon="download", permissions=["import"]
    )
    def import_prices(self, request: HttpRequest) -> HttpResponse:
        """GET what LiteLLM's map would add, POST to add it."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        actor = actor_of(request)
        try:
            if request.method == "POST":
                ticked = "replace_entered" in request.POST
                reports = import_prices(actor=actor, replace_entered=ticked)
                added = sum(report.row is not None for report in reports)
                messages.success(request, _now("%(n)d prices were added.") % {"n": added})
                return HttpResponseRedirect(reverse("admin:mlops_modelprice_changelist"))
            reports = import_prices(actor=actor, dry_run=True)
        except DomainError as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(reverse("admin:mlops_modelprice_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": _("Import list prices"),
            "rows": [_shown(report) for report in reports],
            "has_entered": any(report.outcome is Outcome.KEPT for report in reports),
        }
        return render(request, "mlops/admin/import_prices.html", context)


def _shown(report: ImportedPrice) -> dict[str, Any]:
    """One language model: what the map says beside what is in force."""
    present = None if report.present is None else report.present.as_price()
    words = {
        Outcome.ADDED: _("will be added"),
        Outcome.UNCHANGED: _("as it is"),
        Outcome.KEPT: _("another price was entered by hand and stays"),
        Outcome.UNKNOWN: _("the map has no price for it"),
        Outcome.AMBIGUOUS: _("not certain: import it by name over the API"),
    }
    return {
        "name": report.model.name,
        "outcome": words[report.outcome],
        "reason": report.reason,
        "source": report.source,
        "listed": _lines(report.listed),
        "present": _lines(present),
    }


def _lines(price: Price | None) -> str:
    if price is None:
        return "-"
    parts = [price.input, price.cached_input, price.cache_write, price.output, price.reasoning]
    return " / ".join(_per_million(part) for part in parts)
