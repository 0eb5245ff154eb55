"""Credits of executions: what is reserved before, what is charged after, as ledger lines."""

from __future__ import annotations

from executions.models import Execution
from mlops.models import CreditEntry
from mlops.runtime.recorder import Recorder
from mlops.services.credits import Subject, credits_owed, ending_line, reservation_line


def reservation(execution: Execution) -> CreditEntry | None:
    """The line that holds back the estimate until the execution ends."""
    if not execution.credits_reserved:
        return None
    return reservation_line(
        user_id=execution.user_id, amount=execution.credits_reserved, key=_key(execution), subject=_subject(execution)
    )


def charge_without_answer(execution: Execution) -> None:
    """Set the credits of an execution that ends without an answer: what its attempts were billed, as its row tells it.

    A program that sets its own credits per execution takes them for answers only. Reads the program.
    """
    if execution.program.credits_per_execution is not None:
        return
    billed = Recorder()
    billed.go_on_from(execution.token_usage, execution.prices)
    execution.credits_used = credits_owed(
        known_cost=billed.known_cost, is_unpriced=billed.cost is None, reserved=execution.credits_reserved
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
