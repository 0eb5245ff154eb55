"""The price book: dated rows, added and never changed. What was charged keeps the row that it was charged by."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid
from mlops.models import LanguageModel, ModelPrice, User
from mlops.policies import language_model_policy
from mlops.sanitiser import refuse_unstorable
from mlops.selectors import forget_language_models
from mlops.services.history import delete_with_history, save_with_history
from mlops.services.locking import locked
from mlops.services.validation import check
from mlops.types import PICO_PER_USD
from mlops.verbs import verb

MAX_PRICE = 10**12
"""Micro-dollars per million tokens: a dollar per token."""

MAX_REQUEST_PRICE = 10**6 * PICO_PER_USD
MAX_INPUT_LIMIT = 10**9

BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
"""Before everything that could have been charged."""

END = datetime(2200, 1, 1, tzinfo=UTC)

AHEAD = timedelta(minutes=1)
"""By how much the clock of a process may be ahead of ours: until then it may charge by a row that is not in force."""


@verb(language_model_policy, "add_price")
def add_price(
    *,
    actor: User,
    model: LanguageModel,
    valid_from: datetime,
    input_price: int,
    cached_input_price: int,
    output_price: int,
    cache_write_price: int | None = None,
    reasoning_price: int | None = None,
    request_price: int = 0,
    input_limit: int | None = None,
    source: str = "",
    source_date: date | None = None,
) -> ModelPrice:
    """What `model` costs from `valid_from` on until the next row begins, in micro-dollars per million tokens.

    None for cache writes is the price of input, None for reasoning that of output. `request_price` is pico-dollars per
    billed request. The row holds for requests of up to `input_limit` tokens. A `source` is empty for what a person has
    entered. What ran before the row was entered keeps its cost until it is repriced.

    Raises `Forbidden`, `Invalid` (`price_invalid`, `input_limit_invalid`, `valid_from_naive`,
    `valid_from_out_of_range`) or `Conflict` (`model_price_exists`).
    """
    language_model_policy.check(actor, "add_price", model)
    refuse_unstorable({"source": source})
    price = ModelPrice(
        model=model,
        valid_from=_moment(valid_from),
        input_price=_price(input_price, "input_price"),
        cached_input_price=_price(cached_input_price, "cached_input_price"),
        output_price=_price(output_price, "output_price"),
        cache_write_price=None if cache_write_price is None else _price(cache_write_price, "cache_write_price"),
        reasoning_price=None if reasoning_price is None else _price(reasoning_price, "reasoning_price"),
        request_price=_price(request_price, "request_price", at_most=MAX_REQUEST_PRICE),
        input_limit=_limit(input_limit),
        source=source,
        source_date=source_date,
    )
    check(price)
    try:
        with transaction.atomic():
            save_with_history(price, actor=actor, reason="add_price")
            forget_on_commit()
    except IntegrityError:
        raise Conflict("model_price_exists", _("There is a price of that moment."), field="valid_from") from None
    return price


@verb(language_model_policy, "delete_price")
def delete_price(*, actor: User, price: ModelPrice) -> None:
    """Remove a row that has not come into force. Raises `Forbidden` or `Conflict` (`model_price_in_use`).

    A row that has may be what something is charged by: executions name their rows without a key, and what runs now
    was begun with the row that its process had in memory.
    """
    language_model_policy.check(actor, "delete_price", price.model)
    with transaction.atomic():
        price = locked(price, to_delete=True)
        if have_begun([price]):
            raise Conflict(
                "model_price_in_use", _("This price has come into force. Add one of a later date, which supersedes it.")
            )
        delete_with_history([price], actor=actor, reason="delete_price")
        forget_on_commit()


def have_begun(prices: Iterable[ModelPrice]) -> bool:
    """Whether something may have been charged by one of `prices`."""
    begun = timezone.now() + AHEAD
    return any(price.valid_from <= begun for price in prices)


def forget_on_commit() -> None:
    """Now, for this transaction's own eyes, and once more when the change is there for all."""
    forget_language_models()
    transaction.on_commit(forget_language_models)


def _moment(valid_from: datetime) -> datetime:
    if timezone.is_naive(valid_from):
        raise Invalid("valid_from_naive", _("A moment needs its time zone."), field="valid_from")
    if not BEGINNING <= valid_from < END:
        raise Invalid("valid_from_out_of_range", _("Prices begin between 2000 and 2200."), field="valid_from")
    return valid_from


def _price(amount: int, field: str, *, at_most: int = MAX_PRICE) -> int:
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 <= amount <= at_most:
        message = _("A price is at least 0 and at most a dollar per token, or a million dollars per request.")
        raise Invalid("price_invalid", message, field=field)
    return amount


def _limit(tokens: int | None) -> int | None:
    if tokens is None:
        return None
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 < tokens <= MAX_INPUT_LIMIT:
        raise Invalid("input_limit_invalid", _("A limit is a positive number of tokens."), field="input_limit")
    return tokens
