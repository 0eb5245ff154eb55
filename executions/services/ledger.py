"""Credits of executions: what is reserved before, what is charged after, as ledger lines."""

from __future__ import annotations

from django.conf import settings

from executions.models import Execution
from mlops.models import CreditEntry
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD, CreditKind


def credits_for(cost: int) -> int:
    """Micro-credits for a cost in pico-dollars, rounded up."""
    return -(-cost * settings.SIGNET_CREDITS_PER_USD * MICRO_PER_CREDIT // PICO_PER_USD)


def reservation(execution: Execution) -> CreditEntry | None:
    """The line that holds back the estimate until the execution ends."""
    if not execution.credits_reserved:
        return None
    return CreditEntry(
        user_id=execution.user_id,
        kind=CreditKind.RESERVE.value,
        amount=-execution.credits_reserved,
        key=f"execution:{execution.pk}:reserve",
        created_at=execution.created_at,
        **execution.subject,
    )


def settlement(execution: Execution) -> CreditEntry | None:
    """The line that ends the reservation: what was used is charged, the rest given back.

    There is one per execution, whatever its number of attempts, since its key is the execution's.
    """
    used, reserved = execution.credits_used, execution.credits_reserved
    if not used and not reserved:
        return None
    assert execution.finished_at is not None  # only what has ended is settled
    return CreditEntry(
        user_id=execution.user_id,
        kind=CreditKind.SETTLE.value if used else CreditKind.RELEASE.value,
        amount=reserved - used,
        used=used,
        key=f"execution:{execution.pk}:settle",
        created_at=execution.finished_at,
        **execution.subject,
    )
