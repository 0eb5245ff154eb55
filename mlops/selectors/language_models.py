"""Language models as the runtime needs them: prices in force, secrets and fallbacks resolved."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops import secrets
from mlops.caching import ShortCache
from mlops.errors import Unavailable
from mlops.models import Fallback, LanguageModel, ModelPrice
from mlops.selectors.rows import not_found
from mlops.types import LanguageModelKind, LanguageModelSpec, Price

_specs: ShortCache[UUID, LanguageModelSpec] = ShortCache(seconds=1.0, size=1_000)


def default_language_model(kind: LanguageModelKind = LanguageModelKind.CHAT) -> LanguageModel:
    """The model that programs use when they name none. Raises `Unavailable` (`no_default_language_model`)."""
    found: LanguageModel | None = LanguageModel.objects.enabled().filter(is_default=True, kind=kind.value).first()
    if found is None:
        raise Unavailable("no_default_language_model", _("No language model is set as the default."))
    return found


def enabled_language_model(reference: UUID | str) -> LanguageModel:
    """The enabled language model of that id or name. Raises `NotFound` (`language_model_not_found`)."""
    try:
        wanted = models.Q(pk=reference if isinstance(reference, UUID) else UUID(reference))
    except ValueError:
        wanted = models.Q(name=reference)
    found: LanguageModel | None = LanguageModel.objects.enabled().filter(wanted).first()
    if found is None:
        raise not_found(LanguageModel)
    return found


def language_model_spec(model: LanguageModel, at: datetime | None = None) -> LanguageModelSpec:
    """What the runtime needs to call `model`: secret, price in force `at` (now) and enabled fallbacks resolved.

    `fallbacks` is flat: the fallbacks of a fallback follow it, each model once. Cached for 1 s unless `at` is given.
    Raises `Invalid` (`secret_unreadable`).
    """
    if at is not None:
        return _spec(model, at)
    return _specs.get_or_load(model.pk, lambda: _spec(model, timezone.now()))


def forget_language_models() -> None:
    """Drop the specs that this process keeps."""
    _specs.forget()


def price_at(model: LanguageModel, at: datetime) -> Price | None:
    """The dated price in force `at`, or None: an unknown price is unknown, not zero."""
    row: ModelPrice | None = model.prices.filter(valid_from__lte=at).order_by("-valid_from").first()
    return None if row is None else row.as_price()


def fallback_chain(model: LanguageModel) -> list[LanguageModel]:
    """All that may stand in for `model`, nearest first, each once, `model` itself never."""
    chain: dict[UUID, LanguageModel] = {}
    _collect(model, chain, {model.pk})
    return list(chain.values())


def _collect(model: LanguageModel, chain: dict[UUID, LanguageModel], seen: set[UUID]) -> None:
    for row in Fallback.objects.filter(of=model).select_related("model").order_by("position"):
        if row.model_id not in seen:
            seen.add(row.model_id)
            chain[row.model_id] = row.model
            _collect(row.model, chain, seen)


def _spec(model: LanguageModel, at: datetime) -> LanguageModelSpec:
    stand_ins = tuple(_own_spec(row, at) for row in fallback_chain(model) if row.is_enabled)
    return replace(_own_spec(model, at), fallbacks=stand_ins)


def _own_spec(model: LanguageModel, at: datetime) -> LanguageModelSpec:
    return LanguageModelSpec(
        id=str(model.pk),
        name=model.name,
        kind=LanguageModelKind(model.kind),
        api_base=model.api_base or None,
        api_key=_secret(model),
        parameters=model.parameters,
        timeout_s=model.timeout_s,
        deadline_s=model.deadline_s,
        max_retries=model.max_retries,
        concurrency_limit=model.concurrency_limit,
        supports_tools=model.supports_tools,
        supports_json_schema=model.supports_json_schema,
        price=price_at(model, at),
    )


def _secret(model: LanguageModel) -> str | None:
    if model.secret:
        return secrets.decrypt(model.secret)
    return secrets.from_environment(model.secret_variable) if model.secret_variable else None
