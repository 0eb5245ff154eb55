"""Refusals of executions. Codes never change; messages are made where they are raised."""

from __future__ import annotations

from django.utils.translation import gettext as _

from mlops.errors import Conflict, InsufficientCredits, Invalid, NotFound, Unavailable


def execution_not_found() -> NotFound:
    return NotFound("execution_not_found", _("There is no such execution."))


def execution_not_cancellable(state: str) -> Conflict:
    return Conflict(
        "execution_not_cancellable", _("An execution that is %(state)s cannot be cancelled.") % {"state": state}
    )


def price_unknown() -> InsufficientCredits:
    return InsufficientCredits(
        "price_unknown",
        _("A language model of this program has no price, and the program sets no credits per execution."),
    )


def key_reused() -> Conflict:
    return Conflict(
        "idempotency_key_reused",
        _("This Idempotency-Key was used for another request."),
        field="Idempotency-Key",
    )


def saturated() -> Unavailable:
    return Unavailable(
        "saturated", _("More work is waiting than can be stored. Try again shortly."), extra={"retry_after_s": 1}
    )


def database_unavailable() -> Unavailable:
    return Unavailable(
        "database_unavailable", _("The database does not answer. Try again shortly."), extra={"retry_after_s": 5}
    )


def shutting_down() -> Unavailable:
    return Unavailable("shutting_down", _("This process is stopping. Try again."), extra={"retry_after_s": 1})


def program_not_executable(status: str) -> Conflict:
    return Conflict(
        "program_not_executable", _("A program that is %(status)s cannot be executed.") % {"status": status}
    )


def invalid_option(field: str, message: str) -> Invalid:
    return Invalid("invalid_option", message, field=f"options.{field}")


def input_not_kept() -> Conflict:
    return Conflict("input_not_kept", _("The input of this execution was not kept."))
