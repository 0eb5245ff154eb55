"""Refusals of optimizations. Codes never change; messages are made where they are raised."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from mlops.errors import Conflict, InsufficientCredits, Invalid, NotFound, Problem, all_of


def optimization_not_found() -> NotFound:
    return NotFound("optimization_not_found", _("There is no such optimization."))


def candidate_not_found() -> NotFound:
    return NotFound("candidate_not_found", _("There is no such candidate."))


def dataset_sealed(field: str) -> Conflict:
    return Conflict(
        "dataset_sealed",
        _("A test set is sealed: nothing may learn from it. Take a training or validation set."),
        field=field,
    )


def same_dataset() -> Invalid:
    return Invalid(
        "validation_set_is_training_set",
        _("What is judged on its own training set proves nothing: take another validation set, or none."),
        field="validation_set",
    )


def optimizer_params_invalid(problems: Sequence[Problem]) -> Invalid:
    return all_of(problems, code="optimizer_params_invalid", message=_("The parameters do not fit the optimizer."))


def compile_impossible(problems: Sequence[Problem]) -> Invalid:
    """One refusal with every problem, under the code of the first."""
    return all_of(problems, code=problems[0].code, message=problems[0].message)


def price_unknown(model: str) -> InsufficientCredits:
    return InsufficientCredits(
        "price_unknown",
        _("%(model)s has no price: nobody can say what this costs, so no limit on cost could hold.") % {"model": model},
        field="budget.cost",
    )


def program_changed() -> Conflict:
    return Conflict(
        "program_changed", _("The program was changed since this was asked for, so that it means another program now.")
    )


def program_in_use(optimization: object) -> Conflict:
    return Conflict(
        "program_in_use",
        _("Optimization %(id)s works on this program. Cancel it first, or wait for it.") % {"id": optimization},
        extra={"optimization": str(optimization)},
    )
