"""Giving back what an execution charged."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Sum

from executions.errors import execution_not_refundable, refund_too_large
from executions.models import Execution
from executions.policies import execution_policy
from mlops.models import CreditEntry, User
from mlops.services.credits import Subject, positive, refund_credits
from mlops.types import CreditKind
from mlops.verbs import verb


@verb(execution_policy, "refund")
def refund_execution(
    *, actor: User, execution: Execution, key: str, amount: int | None = None, note: str = ""
) -> CreditEntry:
    """Give back `amount` micro-credits of what `execution` charged, or all that is left of it; once per `key`.

    Raises `Forbidden`, `Conflict` (`execution_not_refundable`: it has not ended or nothing is left, or
    `credit_key_reused`) and `Invalid` (`refund_too_large`, `credit_amount_invalid`).
    """
    execution_policy.check(actor, "refund", execution)
    with transaction.atomic():
        locked = Execution.objects.light().select_for_update(of=("self",), no_key=True)
        row = locked.select_related("user").get(pk=execution.pk)
        earlier = CreditEntry.objects.filter(key=key).first()
        if earlier is None:
            amount = _refundable(row, amount)
        elif amount is None:
            amount = earlier.amount
        subject = Subject("execution", row.pk)
        return refund_credits(actor=actor, user=row.user, amount=amount, key=key, subject=subject, note=note)


def _refundable(row: Execution, amount: int | None) -> int:
    lines = CreditEntry.objects.filter(subject_id=row.pk, kind=CreditKind.REFUND.value)
    left: int = row.credits_used - lines.aggregate(total=Sum("amount", default=0))["total"]
    if not row.is_terminal or left <= 0:
        raise execution_not_refundable()
    if amount is None:
        return left
    if positive(amount) > left:
        raise refund_too_large(left)
    return amount
