"""Credits of executions: what is reserved before, what is charged after, as ledger lines."""

from __future__ import annotations

from executions.models import Execution
from mlops.models import CreditEntry
from mlops.services.credits import Subject, ending_line, reservation_line


def reservation(execution: Execution) -> CreditEntry | None:
    """The line that holds back the estimate until the execution ends."""
    if not execution.credits_reserved:
        return None
    return reservation_line(
        user_id=execution.user_id, amount=execution.credits_reserved, key=_key(execution), subject=_subject(execution)
    )


def settlement(execution: Execution) -> CreditEntry | None:
    """The line that ends the reservation: what was used is charged, the rest given back.

    There is one per execution, whatever its number of attempts, since its key is the execution's.
    """
    if not execution.credits_used and not execution.credits_reserved:
        return None
    return ending_line(
        user_id=execution.user_id,
        reserved=execution.credits_reserved,
        used=execution.credits_used,
        reservation_key=_key(execution),
        subject=_subject(execution),
    )


def _key(execution: Execution) -> str:
    return f"execution:{execution.pk}"


def _subject(execution: Execution) -> Subject:
    return Subject("execution", execution.pk)
