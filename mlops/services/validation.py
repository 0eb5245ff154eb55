"""Turning what Django's model validation finds into refusals of the domain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.utils.translation import gettext as _

from mlops.errors import Invalid, Problem, all_of
from mlops.sanitiser import refuse_unstorable


def apply(row: models.Model, fields: Mapping[str, Any], *, allowed: Iterable[str]) -> None:
    """Set `fields` on `row` and check the whole row.

    Raises `Invalid`: `unknown_field` for a name outside `allowed`, what the sanitiser finds, and every problem that
    the columns' own rules find, at once. Uniqueness is left to the service, which knows the words for it.
    """
    for name in fields.keys() - set(allowed):
        raise Invalid("unknown_field", _("There is no such field."), field=name)
    refuse_unstorable(dict(fields))
    for name, value in fields.items():
        setattr(row, name, value)
    check(row)


def check(row: models.Model) -> None:
    """Raise `Invalid` with every problem that the columns' own rules find."""
    try:
        row.clean_fields()
    except ValidationError as error:
        raise refusal_of(error) from None


def refusal_of(error: ValidationError) -> Invalid:
    """Django's validation error in the words of the domain."""
    fields = error.error_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.error_list}
    problems = [
        Problem(item.code or "invalid", " ".join(item.messages), "" if name == NON_FIELD_ERRORS else name)
        for name, items in fields.items()
        for item in items
    ]
    if len(problems) == 1:
        return Invalid(problems[0].code, problems[0].message, field=problems[0].field)
    return all_of(problems, code="invalid", message=_("Several fields are wrong."))
