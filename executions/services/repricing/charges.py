"""Credits that executions charged too much or too little, and giving back what was too much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import F, Sum
from django.utils import timezone

from executions.models import CostCorrection, Execution, Repricing
from executions.services import bulk
from executions.services.repricing.book import Correction
from mlops.models import CreditEntry, User
from mlops.services.credits import credits_for
from mlops.types import CreditKind
from programs.models import Program


@dataclass(frozen=True, slots=True)
class Charge:
    """By how many micro-credits an execution charged too much, or too little (negative)."""

    execution: Execution
    difference: int

    @property
    def over(self) -> int:
        return max(self.difference, 0)

    @property
    def under(self) -> int:
        return max(-self.difference, 0)


def charges_of(found: Sequence[Correction]) -> list[Charge]:
    """What is wrong with the credits of corrected executions, refunds of whatever reason taken into account.

    Where a program sets its own credits per execution, costs do not matter; of a cost that stays unknown nothing can
    be said.
    """
    known = [one for one in found if one.after is not None]
    fixed = _with_credits_of_their_own({one.execution.program_id for one in known})
    mine = [one for one in known if one.execution.program_id not in fixed]
    keys = [one.execution.pk for one in mine]
    charged_by, refunded = _costs_when_charged(keys), _refunded(keys)
    charges = []
    for one in mine:
        row = one.execution
        fair = _fair(row, charged_by.get(row.pk, one.before), one.after or 0)
        if difference := row.credits_used - refunded.get(row.pk, 0) - fair:
            charges.append(Charge(row, difference))
    return charges


def give_back(job: Repricing, charges: Sequence[Charge]) -> Mapping[UUID, int]:
    """Refund what was charged too much, one ledger line per execution, once; the amounts by execution."""
    lines = {
        f"repricing:{job.pk}:{charge.execution.pk}": CreditEntry(
            user_id=charge.execution.user_id,
            kind=CreditKind.REFUND.value,
            amount=charge.over,
            key=f"repricing:{job.pk}:{charge.execution.pk}",
            granted_by=job.user,
            created_at=timezone.now(),
            note="Repricing",
            **charge.execution.subject,
        )
        for charge in charges
        if charge.over
    }
    booked = [lines[key] for key in bulk.insert(list(lines.values()), "key", "ON CONFLICT (key) DO NOTHING")]
    moved: dict[UUID, int] = defaultdict(int)
    for line in booked:
        moved[line.user_id] += line.amount
    for user_id in sorted(moved):  # one order for all who move credits, against deadlocks
        User.objects.filter(pk=user_id).update(ml_credits=F("ml_credits") + moved[user_id])
    return {line.subject_id: line.amount for line in booked if line.subject_id is not None}


def _fair(row: Execution, charged_by: int | None, after: int) -> int:
    """Micro-credits that the execution should have charged: at the rate at which it charged, rounded up as then."""
    if not charged_by:
        return credits_for(after)
    return -(-row.credits_used * after // charged_by)


def _with_credits_of_their_own(programs: set[UUID]) -> set[UUID]:
    own = Program.objects.filter(pk__in=programs, credits_per_execution__isnull=False)
    return set(own.values_list("pk", flat=True))


def _costs_when_charged(keys: Sequence[UUID]) -> dict[UUID, int | None]:
    """What executions that were corrected before had cost at first: that is what they were charged for."""
    earlier = CostCorrection.objects.filter(execution__in=keys).order_by("-pk")
    return dict(earlier.values_list("execution_id", "cost_before"))  # the first one comes last, and stays


def _refunded(keys: Sequence[UUID]) -> dict[UUID, int]:
    lines = CreditEntry.objects.filter(subject_id__in=keys, kind=CreditKind.REFUND.value)
    return {key: total for key, total in lines.values_list("subject_id").annotate(total=Sum("amount")) if key}
