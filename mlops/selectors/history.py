"""What a record was: its states, what differs between two of them, and how it was at a time.

django-simple-history keeps a row per change; secrets and calculated columns are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Field, QuerySet
from django.utils.translation import gettext as _

from mlops.errors import NotFound
from mlops.querysets import ScopedQuerySet, Viewer

UNTOLD = frozenset({"id", "created_at", "updated_at"})
"""Columns that say nothing about what a record is."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One column of a record before and after, as JSON."""

    field: str
    old: Any
    new: Any


def history_of(row: Any) -> QuerySet[Any]:
    """The states of `row`, the newest first, with who made them."""
    states: QuerySet[Any] = row.history.select_related("history_user").order_by("-history_id")
    return states


def deletions(model: Any, viewer: Viewer) -> QuerySet[Any]:
    """The last states of records of `model` that have been deleted, as far as `viewer` may know of them: the latest
    first, with who deleted them."""
    rows = model._default_manager.all()
    scoped = rows if isinstance(rows, ScopedQuerySet) else ScopedQuerySet(model)  # Django's own have no narrower scope
    return scoped.deletions_known_to(viewer).select_related("history_user").order_by("-history_id")


def deleted_record(model: Any, reference: str, viewer: Viewer) -> Any | None:
    """The record of that id as it was when it was deleted, for those who may know that it was there."""
    try:
        key = model._meta.pk.to_python(reference)
    except ValidationError:
        return None
    state = deletions(model, viewer).filter(**{model._meta.pk.attname: key}).first()
    return None if state is None else state.instance


def state_of(row: Any, state: int) -> Any:
    """The state of `row` with that number. Raises `NotFound` (`state_not_found`)."""
    return _found(history_of(row).filter(history_id=state))


def state_at(row: Any, time: datetime) -> Any:
    """The state that `row` had at `time`. Raises `NotFound` (`state_not_found`) when there was none yet.

    States follow each other by number, as everywhere: a clock may have been set back between them.
    """
    return _found(history_of(row).filter(history_date__lte=time))


def state_before(state: Any) -> Any | None:
    """What the record was before it became `state`."""
    return history_of(state.instance).filter(history_id__lt=state.history_id).first()


def values_of(state: Any) -> dict[str, Any]:
    """What a state says of its record, as JSON: foreign keys as ids, money as the integers that are stored."""
    return {field.name: _plain(field.value_from_object(state)) for field in _told(state)}


def difference(older: Any, newer: Any) -> list[FieldChange]:
    """The columns in which two states of one record differ, as far as both are known."""
    before, after = values_of(older), values_of(newer)
    unknown = {name for name in _related(newer) if before[name] is None or after[name] is None}
    differing = [name for name, value in after.items() if before[name] != value and name not in unknown]
    return [FieldChange(name, before[name], after[name]) for name in differing]


def with_changes(states: Sequence[Any]) -> list[tuple[Any, list[FieldChange]]]:
    """Neighbouring states, the newest first, each with what it changed of the one before."""
    if not states:
        return []
    earlier = [*states[1:], state_before(states[-1])]
    return [
        (state, [] if before is None else difference(before, state))
        for state, before in zip(states, earlier, strict=True)
    ]


def _found(states: QuerySet[Any]) -> Any:
    state = states.first()
    if state is None:
        raise NotFound("state_not_found", _("The record had no such state."))
    return state


def _told(state: Any) -> list[Field[Any, Any]]:
    own = [field for field in state.tracked_fields if field.name not in UNTOLD]
    return [*own, *(state._meta.get_field(name) for name in _related(state))]


def _related(state: Any) -> tuple[str, ...]:
    """The columns of what belongs to the record but stands in rows of its own."""
    return getattr(state, "related_columns", ())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, bool | int | float | str | list | dict | None) else str(value)
