"""Putting a record back to what it was: a new change, made by the service that makes such changes, under its rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from django.utils.translation import gettext as _

from mlops.errors import Conflict
from mlops.models import User
from mlops.policies import history_policy
from mlops.selectors.history import difference, history_of, state_of
from mlops.services.history import recorded_as
from mlops.verbs import verb


@dataclass(frozen=True, slots=True)
class Way:
    """The columns that can be put back, and the service that does it: it gets the actor, the row and their values."""

    fields: frozenset[str]
    change: Callable[[User, Any, dict[str, Any]], Any]


_ways: dict[type[models.Model], Way] = {}


def revertible(
    model: type[models.Model], fields: Iterable[str], change: Callable[[User, Any, dict[str, Any]], Any]
) -> None:
    """Have records of `model` put back by `change`, as far as `fields` go."""
    _ways[model] = Way(frozenset(fields), change)


def way_back(model: type[models.Model]) -> Way | None:
    """How records of `model` are put back, if they can be."""
    return _ways.get(model)


@verb(history_policy, "revert")
def revert(*, actor: User, row: Any, state: int) -> Any:
    """Make `row` what it was in `state`, as far as its columns can be changed at all; returns the row.

    What verbs of their own change, such as a status, stays as it is. Nothing happens where nothing differs. Raises
    `Forbidden`, `NotFound` (`state_not_found`), `Conflict` (`not_revertible`, `reference_gone`), and whatever the
    service raises that makes the change.
    """
    history_policy.check(actor, "revert", row)
    way = way_back(type(row))
    if way is None:
        raise Conflict("not_revertible", _("Such records are not changed, and so cannot be put back."))
    wanted = state_of(row, state)
    differing = {change.field for change in difference(wanted, history_of(row).first())}
    changes = {name: _value(wanted, name) for name in differing & way.fields}
    with recorded_as("revert"):  # no transaction: the service has its own, and may ask the network before it
        return way.change(actor, row, changes) if changes else row


def _value(state: Any, name: str) -> Any:
    """The value of a column; for a foreign key the row that it names."""
    try:
        return getattr(state, name)
    except ObjectDoesNotExist:
        raise reference_gone(name) from None


def reference_gone(field: str) -> Conflict:
    return Conflict("reference_gone", _("What the record referred to then has been deleted."), field=field)
