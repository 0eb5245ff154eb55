"""Prices from LiteLLM's bundled map: offline, with their source and its date, never over what a person has entered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from django.db import transaction
from django.utils import timezone

from mlops.models import LanguageModel, ModelPrice, User
from mlops.policies import language_model_policy
from mlops.runtime.price_map import Listing, PriceMap, Unlisted, installed_map
from mlops.runtime.tiers import tier_asked
from mlops.services.locking import locked
from mlops.services.prices import BEGINNING, add_price
from mlops.types import MATCHER_NAME, Price
from mlops.verbs import verb

LOCAL = "runs on your own machine"
"""The source of the price of nothing."""


class Outcome(StrEnum):
    """What an import did with a language model, or would do."""

    ADDED = "added"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    """A price that a person entered differs from the map and stays; both are shown."""
    UNKNOWN = "unknown"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, slots=True)
class ImportedPrice:
    """The outcome for one language model, and the reason in one word where it has no price from the map.

    `listed` is what the map says, `present` the row in force until now, `row` the one that was added.
    """

    model: LanguageModel
    outcome: Outcome
    reason: str = ""
    listed: Price | None = None
    source: str = ""
    present: ModelPrice | None = None
    row: ModelPrice | None = None


@verb(language_model_policy, "import_prices")
def import_prices(
    *,
    actor: User,
    models: Sequence[LanguageModel] | None = None,
    valid_from: datetime | None = None,
    dry_run: bool = False,
    replace_entered: bool = False,
) -> list[ImportedPrice]:
    """Give `models`, or all that are enabled, their list prices from `valid_from` (now) on; `dry_run` adds nothing.

    A row is added only when it differs from the one in force, and in place of one that a person has entered only if
    `replace_entered` says so. A model with a base URL of its own is left out unless it is named: whether list prices
    hold there is for a person to say. Raises `Forbidden`, and what `add_price` raises; then nothing was added.
    """
    language_model_policy.check(actor, "import_prices")
    chosen = list(LanguageModel.objects.enabled()) if models is None else models
    known = installed_map()
    with transaction.atomic():
        reports = []
        for model in chosen if dry_run else map(locked, chosen):
            report = _compared(model, known, valid_from or timezone.now(), is_named=models is not None)
            if report.outcome is Outcome.KEPT and replace_entered:
                report = replace(report, outcome=Outcome.ADDED)
            if report.outcome is Outcome.ADDED and not dry_run:
                report = replace(report, row=_added(actor, report, valid_from or timezone.now(), known.dated))
            reports.append(report)
    return reports


def price_new_model(*, actor: User, model: LanguageModel) -> None:
    """Give a language model that was just made its list price, if the map knows one for certain. The caller has asked
    the policy."""
    known = installed_map()
    report = _compared(model, known, timezone.now(), is_named=False)
    if report.outcome is Outcome.ADDED:
        _added(actor, report, BEGINNING, known.dated)


def _compared(model: LanguageModel, known: PriceMap, at: datetime, *, is_named: bool) -> ImportedPrice:
    present = model.prices.filter(valid_from__lte=at).order_by("-valid_from").first()
    listing, source = _listing(model, known)
    if listing.price is None or listing.reason is not None:
        outcome = Outcome.AMBIGUOUS if listing.reason is Unlisted.AMBIGUOUS else Outcome.UNKNOWN
        return ImportedPrice(model, outcome, listing.reason or Unlisted.UNKNOWN, None, source, present)
    report = ImportedPrice(model, Outcome.ADDED, "", listing.price, source, present)
    if present is not None and _is_same(present, listing.price):
        return replace(report, outcome=Outcome.UNCHANGED)
    if model.api_base and source != LOCAL and not is_named:
        return replace(report, outcome=Outcome.AMBIGUOUS, reason="own_base_url")
    if present is not None and not present.source:
        return replace(report, outcome=Outcome.KEPT, reason="entered_by_hand")
    return report


def _listing(model: LanguageModel, known: PriceMap) -> tuple[Listing, str]:
    provider, _, name = model.name.partition("/")
    if model.name == MATCHER_NAME or (provider in ("ollama", "ollama_chat") and not name.endswith("cloud")):
        return Listing(Price(model.name, 0, 0, 0)), LOCAL
    return known.listing(model.name, tier_asked(model.parameters)), known.source


def _is_same(row: ModelPrice, listed: Price) -> bool:
    return replace(row.as_price(), id="") == replace(listed, id="")


def _added(actor: User, report: ImportedPrice, valid_from: datetime, dated: date) -> ModelPrice | None:
    listed = report.listed
    if listed is None:
        return None
    return add_price(
        actor=actor,
        model=report.model,
        valid_from=valid_from,
        input_price=listed.input,
        cached_input_price=listed.cached_input,
        output_price=listed.output,
        cache_write_price=listed.cache_write,
        reasoning_price=listed.reasoning,
        request_price=listed.request,
        input_limit=listed.input_limit,
        source=report.source,
        source_date=None if report.source == LOCAL else dated,
    )
