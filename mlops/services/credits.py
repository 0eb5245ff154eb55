"""The credit ledger: every line once, the balance changed in the same transaction.

Amounts are micro-credits. Each verb has an idempotency `key`: the same key with the same content returns the first
line again, with other content it is a `Conflict` (`credit_key_reused`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.errors import Conflict, InsufficientCredits, Invalid
from mlops.models import CreditEntry, User
from mlops.models.base import new_id
from mlops.policies import user_policy
from mlops.sanitiser import refuse_unstorable
from mlops.services.history import saved_or_none
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD, CreditKind
from mlops.verbs import verb

MAX_AMOUNT = 10**15
"""Micro-credits that one line may move: a billion credits."""

MAX_BALANCE = 10**18
MAX_KEY = 110
MAX_IDEMPOTENCY_KEY = 255


@dataclass(frozen=True, slots=True)
class Subject:
    """What a ledger line is about: a row of a higher app, named and not referred to."""

    kind: str
    id: UUID


def line_key(verb: str, actor: User, told: str | None) -> str:
    """The key of a line that `verb` makes for `actor`: of bounded length whatever idempotency key they told, and a new
    one where they told none. Raises `Invalid` (`idempotency_key_invalid`)."""
    if told is None:
        return f"{verb}:{new_id()}"
    if not told or len(told) > MAX_IDEMPOTENCY_KEY:
        message = _("An Idempotency-Key has 1 to 255 characters.")
        raise Invalid("idempotency_key_invalid", message, field="Idempotency-Key")
    return f"{verb}:{hashlib.sha256(f'{actor.pk}:{told}'.encode('utf-8', 'surrogatepass')).hexdigest()}"


@verb(user_policy, "grant_credits")
def grant_credits(*, actor: User, user: User, amount: int, key: str, note: str = "") -> CreditEntry:
    """Give `user` credits. Raises `Forbidden`, `Invalid` (`credit_amount_invalid`) or `Conflict`."""
    user_policy.check(actor, "grant_credits", user)
    _refuse_text(key, note)
    return book(
        CreditEntry(
            user=user,
            kind=CreditKind.GRANT.value,
            amount=positive(amount),
            key=key,
            note=note,
            granted_by=saved_or_none(actor),
        )
    )


@verb(user_policy, "refund_credits")
def refund_credits(
    *, actor: User, user: User, amount: int, key: str, subject: Subject | None = None, note: str = ""
) -> CreditEntry:
    """Give back what was charged wrongly. Raises as `grant_credits`."""
    user_policy.check(actor, "refund_credits", user)
    _refuse_text(key, note)
    return book(
        CreditEntry(
            user=user,
            kind=CreditKind.REFUND.value,
            amount=positive(amount),
            key=key,
            note=note,
            granted_by=saved_or_none(actor),
            **_about(subject),
        )
    )


def reserve(*, user: User, amount: int, key: str, subject: Subject) -> CreditEntry:
    """Take an upper estimate, which may be 0, before work begins.

    Raises `InsufficientCredits` (`insufficient_credits`) when `user` is stopped by credits and has fewer, or none: the
    balance is compared and changed in one statement, so concurrent reservations never pass together.
    """
    _refuse_text(key, "")
    if not 0 <= amount <= MAX_AMOUNT:
        raise _amount_invalid()
    line = reservation_line(user_id=user.pk, amount=amount, key=key, subject=subject)
    return book(line, floor=floor_of(amount) if user.is_stopped_by_credits else None)


def settle(*, reservation: CreditEntry, used: int) -> CreditEntry:
    """End a reservation: what was reserved comes back less what was really `used` (which may be more).

    A reservation ends once, by `settle` or by `release`: their key follows from it.
    """
    if not 0 <= used <= MAX_AMOUNT:
        raise _amount_invalid()
    return book(_ending(reservation, used))


def release(*, reservation: CreditEntry) -> CreditEntry:
    """End a reservation of which nothing was used."""
    return book(_ending(reservation, 0))


# The lines themselves, for who stores many rows in one transaction and books them along with it.


def reservation_line(*, user_id: UUID, amount: int, key: str, subject: Subject) -> CreditEntry:
    """The line that holds back `amount` until the work ends."""
    return CreditEntry(
        user_id=user_id,
        kind=CreditKind.RESERVE.value,
        amount=-amount,
        key=key,
        created_at=timezone.now(),
        **_about(subject),
    )


def ending_line(*, user_id: UUID, reserved: int, used: int, reservation_key: str, subject: Subject) -> CreditEntry:
    """The one line that ends a reservation: `settle` when something was used, else `release`."""
    return CreditEntry(
        user_id=user_id,
        kind=(CreditKind.SETTLE if used else CreditKind.RELEASE).value,
        amount=reserved - used,
        used=used,
        key=ending_key(reservation_key),
        created_at=timezone.now(),
        **_about(subject),
    )


def ending_key(reservation_key: str) -> str:
    """The key of the one line that ends a reservation."""
    return f"end:{reservation_key}"


def floor_of(amount: int) -> int:
    """The balance that a limited account needs before work that may use `amount`: what is free needs credits too."""
    return max(amount, 1)


def credits_for(cost: int) -> int:
    """Micro-credits for a cost in pico-dollars, rounded up."""
    return -(-cost * settings.SIGNET_CREDITS_PER_USD * MICRO_PER_CREDIT // PICO_PER_USD)


def credits_owed(*, known_cost: int, is_unpriced: bool, reserved: int) -> int:
    """Micro-credits for work of which `known_cost` pico-dollars are known.

    Where something of it has no known cost, at least what was `reserved` (micro-credits): an upper estimate of the
    whole, to which the account had agreed. Never less than what is known.
    """
    known = credits_for(known_cost)
    return max(known, reserved) if is_unpriced else known


def insufficient_credits(needed: int, available: int | None = None) -> InsufficientCredits:
    extra = {"needed_micro_credits": needed}
    if available is not None:
        extra["available_micro_credits"] = available
    return InsufficientCredits("insufficient_credits", _("Your credits do not cover this."), extra=extra)


def _ending(reservation: CreditEntry, used: int) -> CreditEntry:
    subject = Subject(reservation.subject_kind, reservation.subject_id)  # type: ignore[arg-type]  # reservations have one
    return ending_line(
        user_id=reservation.user_id,
        reserved=-reservation.amount,
        used=used,
        reservation_key=reservation.key,
        subject=subject,
    )


def book(line: CreditEntry, *, floor: int | None = None) -> CreditEntry:
    """Write `line` and move the balance, both or neither; the line of an earlier call with the same key otherwise."""
    if first := _first_with(line):
        return first
    try:
        with transaction.atomic():
            line.save(force_insert=True)
            _move_balance(line, floor)
    except IntegrityError:
        if first := _first_with(line):
            return first
        raise
    return line


def _move_balance(line: CreditEntry, floor: int | None) -> None:
    accounts = User.objects.filter(pk=line.user_id)
    if floor is not None:
        accounts = accounts.filter(ml_credits__gte=floor)
    if line.amount > 0:
        accounts = accounts.filter(ml_credits__lte=MAX_BALANCE - line.amount)
    if accounts.update(ml_credits=F("ml_credits") + line.amount):
        return
    if floor is None:
        raise Invalid("credit_balance_too_large", _("No account holds that many credits."), field="amount")
    raise insufficient_credits(floor)


def _first_with(line: CreditEntry) -> CreditEntry | None:
    first = CreditEntry.objects.filter(key=line.key).first()
    if first is not None and _content(first) != _content(line):
        raise Conflict("credit_key_reused", _("This idempotency key stands for another ledger line."), field="key")
    return first


def _content(line: CreditEntry) -> tuple[object, ...]:
    return (line.user_id, line.kind, line.amount, line.used, line.subject_kind, line.subject_id, line.note)


def _about(subject: Subject | None) -> dict[str, object]:
    return {"subject_kind": subject.kind, "subject_id": subject.id} if subject else {}


def positive(amount: int) -> int:
    """`amount`, if a line may move it. Raises `Invalid` (`credit_amount_invalid`)."""
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount <= MAX_AMOUNT:
        raise _amount_invalid()
    return amount


def _amount_invalid() -> Invalid:
    return Invalid("credit_amount_invalid", _("An amount is positive and at most a billion credits."), field="amount")


def _refuse_text(key: str, note: str) -> None:
    refuse_unstorable({"key": key, "note": note})
    if not key or len(key) > MAX_KEY:
        raise Invalid("credit_key_invalid", _("An idempotency key has 1 to 110 characters."), field="key")
    if len(note) > 200:
        raise Invalid("credit_note_too_long", _("A note has at most 200 characters."), field="note")
