"""What processes hold of a budget, decided by the database.

A process tells what its slice has used and what it wants the slice to be; the answer is what it is. Figures are
absolute, so that an exchange whose answer was lost can be repeated: nothing is counted twice. Each exchange is one
short transaction that locks the process's own slice first and the period after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from django.utils import timezone

from mlops.models import Budget, BudgetPeriod, BudgetSlice

EXPIRES_S = 15.0
"""A slice of which nobody has told for so long belonged to a process that disappeared."""

SHARE = 8
"""Beyond its present need a slice is at most this part of what is left, so that the last cents are not held idly."""

KEPT_SWEPT = timedelta(days=7)
"""How long a process that was taken for lost can come back and tell what it really used."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process says of its slice. `needed` comes on top of what is used and reserved; `spare` may come too.

    `is_known`: an earlier claim was answered. `is_last`: the slice is given back, nothing is reserved.
    """

    slice_id: UUID
    budget_id: UUID
    starts_on: date
    holder: str
    used: int
    reserved: int
    unpriced: int = 0
    needed: int = 0
    spare: int = 0
    is_known: bool = False
    is_last: bool = False

    @property
    def floor(self) -> int:
        """Spent, or under way: it is counted whatever the limit says."""
        return self.used + self.reserved

    def size_within(self, room: int) -> tuple[int, bool]:
        """How large the slice may be where it can be `room` at most, and whether that covers what is needed."""
        base = self.floor + self.needed
        if self.needed and base > room:
            return self.floor, False
        return base + max(min(self.spare, (room - base) // SHARE), 0), True


@dataclass(frozen=True, slots=True)
class Granted:
    """What the slice is now. Where what was needed is not covered, `is_lent` tells whether it would be with what other
    processes hold and have neither used nor reserved, as far as is known."""

    size: int
    limit: int
    is_covered: bool = True
    is_lent: bool = False


def exchange(claim: Claim) -> Granted | None:
    """Charge what `claim` used and set the size of its slice. None when there is no such budget any more."""
    limit = Budget.objects.filter(pk=claim.budget_id).values_list("limit", flat=True).first()
    if limit is None:
        return None
    try:
        with transaction.atomic():
            return _exchanged(claim, limit)
    except IntegrityError:
        if Budget.objects.filter(pk=claim.budget_id).exists():
            raise
        return None  # it was deleted meanwhile


def _exchanged(claim: Claim, limit: int) -> Granted:
    held = BudgetSlice.objects.select_for_update().filter(pk=claim.slice_id).first()
    if held is None and claim.is_known:
        return Granted(0, limit)  # given back, and the answer was lost
    period = _locked_period(claim)
    held = held or BudgetSlice(pk=claim.slice_id, period=period, holder=claim.holder)
    room = limit - (period.allocated - held.size)
    size, is_covered = claim.size_within(room)
    is_lent = not is_covered and claim.floor + claim.needed <= room + _lent(period, held)
    if not is_covered and not is_lent and period.blocked_at is None:
        period.blocked_at = timezone.now()
    _move(period, held, claim, size)
    return Granted(size, limit, is_covered, is_lent)


def _locked_period(claim: Claim) -> BudgetPeriod:
    key = {"budget_id": claim.budget_id, "starts_on": claim.starts_on}
    if not BudgetPeriod.objects.filter(**key).exists():
        BudgetPeriod.objects.bulk_create([BudgetPeriod(**key)], ignore_conflicts=True)
    period: BudgetPeriod = BudgetPeriod.objects.select_for_update(no_key=True).get(**key)
    return period


def _move(period: BudgetPeriod, held: BudgetSlice, claim: Claim, size: int) -> None:
    """Count what is new of `claim`, and write slice and period down."""
    period.allocated += size - held.size
    period.spent += claim.used - held.used
    period.unpriced += claim.unpriced - held.unpriced
    if held.is_swept:
        period.in_doubt -= held.reserved
    period.save(update_fields=["allocated", "spent", "unpriced", "in_doubt", "blocked_at"])
    if claim.is_last:
        BudgetSlice.objects.filter(pk=held.pk).delete()
        return
    held.size, held.used, held.reserved, held.unpriced = size, claim.used, claim.reserved, claim.unpriced
    held.is_swept, held.expires_at = False, timezone.now() + timedelta(seconds=EXPIRES_S)
    held.save()


def _lent(period: BudgetPeriod, held: BudgetSlice) -> int:
    others = BudgetSlice.objects.filter(period=period, is_swept=False).exclude(pk=held.pk)
    return int(others.aggregate(n=Sum(F("size") - F("used") - F("reserved"), default=0))["n"])


def sweep_slices() -> int:
    """Take back what processes held that have disappeared; how many slices.

    What they had used as they last told is spent. What they had reserved then stays counted, as `in_doubt`: their calls
    may have been billed. The rest is free again.
    """
    now = timezone.now()
    expired = BudgetSlice.objects.filter(expires_at__lt=now, is_swept=False).order_by("pk")
    swept = sum(_swept(key, now) for key in list(expired.values_list("pk", flat=True)))
    BudgetSlice.objects.filter(is_swept=True, expires_at__lt=now - KEPT_SWEPT).delete()
    return swept


def _swept(key: UUID, now: datetime) -> bool:
    with transaction.atomic():
        expired = BudgetSlice.objects.select_for_update().filter(pk=key, expires_at__lt=now, is_swept=False)
        held = expired.first()
        if held is None:
            return False
        period = BudgetPeriod.objects.select_for_update(no_key=True).get(pk=held.period_id)
        kept = held.used + held.reserved
        period.allocated += kept - held.size
        period.in_doubt += held.reserved
        period.save(update_fields=["allocated", "in_doubt"])
        held.size, held.is_swept = kept, True
        held.save(update_fields=["size", "is_swept"])
    return True
