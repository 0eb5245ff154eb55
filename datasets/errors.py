"""Refusals of datasets and corpora, with their codes."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid, NotFound, Problem, all_of


def dataset_not_found() -> NotFound:
    return NotFound("dataset_not_found", _("There is no such dataset."))


def corpus_not_found() -> NotFound:
    return NotFound("corpus_not_found", _("There is no such corpus."))


def dataset_in_use() -> Conflict:
    return Conflict("dataset_in_use", _("The dataset is in use and cannot be deleted."))


def corpus_in_use() -> Conflict:
    return Conflict("corpus_in_use", _("The corpus is in use and cannot be deleted."))


def version_taken() -> Conflict:
    return Conflict("version_taken", _("Somebody was faster with this version. Try again."))


def name_invalid() -> Invalid:
    return Invalid(
        "name_invalid", _("A name starts with a small letter and has at most 63 of a-z, 0-9, _ and -."), field="name"
    )


def unknown_type() -> Invalid:
    return Invalid("dataset_type_unknown", _("The type is training, validation or test."), field="type")


def empty(field: str) -> Invalid:
    return Invalid("empty", _("At least one is needed."), field=field)


def too_many(field: str, limit: int) -> Invalid:
    return Invalid("too_many", _("At most %(limit)s are accepted.") % {"limit": limit}, field=field)


def invalid_examples(problems: Sequence[Problem]) -> Invalid:
    return all_of(problems, code="dataset_invalid", message=_("Some examples cannot be accepted."))


def invalid_passages(problems: Sequence[Problem]) -> Invalid:
    return all_of(problems, code="corpus_invalid", message=_("Some passages cannot be accepted."))
