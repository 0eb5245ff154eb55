"""`manage.py import_prices [NAME ...] [--dry-run] [--replace-entered] [--valid-from MOMENT]`"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.translation import gettext as _

from mlops.errors import DomainError
from mlops.models import LanguageModel
from mlops.moments import moment_of
from mlops.money import as_decimal
from mlops.services.history import operator
from mlops.services.price_imports import ImportedPrice, import_prices
from mlops.types import Price

MICRO = 10**6


class Command(BaseCommand):
    help = "Add the list prices of LiteLLM's bundled map where they differ from those in force. Nothing is fetched."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", help="language models, as provider/model; default: all enabled ones")
        parser.add_argument("--dry-run", action="store_true", help="only show what would be added")
        parser.add_argument("--replace-entered", action="store_true", help="also where a person entered another price")
        parser.add_argument("--valid-from", type=_moment, help="ISO 8601 with time zone; default: now")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            reports = import_prices(
                actor=operator(),
                models=_models(options["names"]) or None,
                valid_from=options["valid_from"],
                dry_run=options["dry_run"],
                replace_entered=options["replace_entered"],
            )
        except DomainError as error:
            raise CommandError(error.message) from None
        for report in reports:
            self.stdout.write(_line(report))


def _models(names: list[str]) -> list[LanguageModel]:
    found = {model.name: model for model in LanguageModel.objects.filter(name__in=names)}
    if missing := [name for name in names if name not in found]:
        raise CommandError(_("There is no language model %(name)s.") % {"name": missing[0]})
    return [found[name] for name in names]


def _line(report: ImportedPrice) -> str:
    present = None if report.present is None else report.present.as_price()
    why = f" ({report.reason})" if report.reason else ""
    return f"{report.model.name}: {report.outcome.value}{why}; {_figures(present)} -> {_figures(report.listed)}"


def _figures(price: Price | None) -> str:
    """Dollars per million tokens of input, cached input and output."""
    if price is None:
        return "-"
    return " / ".join(as_decimal(figure, MICRO) for figure in (price.input, price.cached_input, price.output))


def _moment(text: str) -> datetime:
    try:
        return moment_of(text)
    except ValueError:
        raise CommandError(_("Expected a moment such as 2026-01-31T00:00:00Z.")) from None
