"""Refusals of executions. Codes never change; messages are made where they are raised."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from mlops.errors import Conflict, Forbidden, InsufficientCredits, Invalid, NotFound, Problem, Unavailable, all_of
from mlops.money import as_decimal
from mlops.types import MICRO_PER_CREDIT


def execution_not_found() -> NotFound:
    return NotFound("execution_not_found", _("There is no such execution."))


def reader_cut_off() -> Forbidden:
    return Forbidden("reader_cut_off", _("The right to read the rest was taken away."))


def execution_underway(execution_id: str) -> Unavailable:
    return Unavailable("execution_underway", _("Execution %(id)s goes on: poll it there.") % {"id": execution_id})


def execution_not_cancellable(state: str) -> Conflict:
    return Conflict(
        "execution_not_cancellable", _("An execution that is %(state)s cannot be cancelled.") % {"state": state}
    )


def execution_not_refundable() -> Conflict:
    return Conflict("execution_not_refundable", _("There is nothing of this execution to give back."))


def refund_too_large(left: int) -> Invalid:
    return Invalid(
        "refund_too_large",
        _("At most %(credits)s credits are left of what it charged.") % {"credits": as_decimal(left, MICRO_PER_CREDIT)},
        field="credits",
    )


def price_unknown() -> InsufficientCredits:
    return InsufficientCredits(
        "price_unknown",
        _("A language model of this program has no price, and the program sets no credits per execution."),
    )


def price_of_length_unknown() -> InsufficientCredits:
    return InsufficientCredits(
        "price_unknown", _("The input may be longer than the price of a language model of this program holds for.")
    )


def price_of_metric_unknown() -> InsufficientCredits:
    return InsufficientCredits("price_unknown", _("Nobody can tell what the language models of this metric will cost."))


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


def metric_not_found() -> NotFound:
    return NotFound("metric_not_found", _("There is no such metric."))


def metric_exists() -> Conflict:
    return Conflict("metric_exists", _("There is a metric of this name: make a new version of it."), field="name")


def metric_frozen() -> Conflict:
    return Conflict("metric_frozen", _("Something was scored with this metric: make a new version of it."))


def metric_in_use() -> Conflict:
    return Conflict("metric_in_use", _("The metric is in use and cannot be deleted."))


def metric_failed(message: str) -> Invalid:
    return Invalid("metric_failed", message)


def evaluation_not_found() -> NotFound:
    return NotFound("evaluation_not_found", _("There is no such evaluation."))


def evaluation_not_cancellable(state: str) -> Conflict:
    return Conflict(
        "evaluation_not_cancellable", _("An evaluation that is %(state)s cannot be cancelled.") % {"state": state}
    )


def evaluations_not_comparable(reason: str) -> Conflict:
    return Conflict("evaluations_not_comparable", reason)


def evaluation_invalid(field: str, message: str) -> Invalid:
    return Invalid("evaluation_invalid", message, field=field)


def budget_invalid(field: str) -> Invalid:
    return Invalid(
        "budget_invalid",
        _("A budget limits cost, calls and tokens by whole numbers and seconds by a number, none below 0."),
        field=f"budget.{field}" if field else "budget",
    )


def budget_too_small(limit: str, needed: str) -> Problem:
    message = _("The budget does not cover this: it needs at least %(needed)s.") % {"needed": needed}
    return Problem("budget_too_small", message, f"budget.{limit}")


def dataset_empty() -> Conflict:
    return Conflict("dataset_empty", _("The dataset has no examples."), field="dataset")


def dataset_does_not_fit(problems: Sequence[Problem]) -> Invalid:
    return all_of(
        problems, code="dataset_does_not_fit", message=_("The examples of the dataset do not fit what is evaluated.")
    )


def program_changed() -> Conflict:
    return Conflict("program_changed", _("The draft was changed while it was evaluated."))


def language_models_changed() -> Conflict:
    return Conflict(
        "language_models_changed",
        _("Other language models than when it was asked for would answer now: it cannot go on with them."),
    )


def nothing_to_collect() -> Invalid:
    return Invalid("nothing_to_collect", _("No completed execution with kept input and output matches."))


def several_programs(names: str) -> Invalid:
    return Invalid(
        "several_programs",
        _("The executions are of several programs (%(names)s): name one.") % {"names": names},
        field="program",
    )


def invalid_collection(field: str, message: str) -> Invalid:
    return Invalid("collection_invalid", message, field=field)


def usage_period_invalid(field: str, message: str) -> Invalid:
    return Invalid("usage_period_invalid", message, field=field)


def deploy_not_better(message: str, extra: dict[str, object]) -> Conflict:
    return Conflict("deploy_not_better", message, extra=extra)


def period_invalid() -> Invalid:
    return Invalid(
        "period_invalid", _("A period begins before it ends, in the past, with its time zone."), field="since"
    )


def repricing_underway() -> Conflict:
    return Conflict("repricing_underway", _("Another repricing is being applied; only one can be at a time."))


def repricing_not_applicable() -> Conflict:
    return Conflict("repricing_not_applicable", _("Only a completed preview that found a difference can be applied."))


def repricing_applied() -> Conflict:
    return Conflict("repricing_applied", _("This preview was applied before; make a new one to see what is left."))
