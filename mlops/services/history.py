"""Saving a row together with who changed it and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from django.db import transaction

from mlops.models import User
from mlops.types import Role

M = TypeVar("M")

_recorded_as: ContextVar[str] = ContextVar("signet_recorded_as", default="")

_deleting: ContextVar[tuple[User | None, str] | None] = ContextVar("signet_deleting", default=None)

_listeners: list[Callable[[], None]] = []


def operator() -> User:
    """The explicit actor of management commands: an admin of this process that is no row and never logs in."""
    return User(username="operator", role=Role.ADMIN.value)


def saved_or_none(actor: User) -> User | None:
    """`actor` as a foreign key may hold it: None for the operator, who has no row."""
    return None if actor._state.adding else actor


def save_with_history(instance: M, *, actor: User, reason: str, update_fields: Iterable[str] | None = None) -> M:
    """Save `instance`; its history row names `actor` and `reason`, which is the verb. Returns the instance.

    With `update_fields` only those columns are written, and `updated_at` with them.
    """
    row: Any = instance
    row._history_user = saved_or_none(actor)
    row._change_reason = _recorded_as.get() or reason
    columns = None if update_fields is None else {*update_fields, *_touched(row)}
    row.save(update_fields=columns)
    announce_change()
    return instance


def delete_with_history(rows: Iterable[Any], *, actor: User, reason: str) -> None:
    """Delete rows one by one, so that the history says who did it, of what goes along with them too."""
    token = _deleting.set((saved_or_none(actor), reason))
    try:
        for row in rows:
            row.delete()
    finally:
        _deleting.reset(token)
    announce_change()


def name_who_deletes(sender: object, history_instance: Any, **signal: Any) -> None:
    """Receiver of simple-history's `pre_create_historical_record`: rows that are deleted along with another one are
    deleted by Django, which is told of no actor."""
    if history_instance.history_type == "-" and (deleting := _deleting.get()):
        history_instance.history_user, history_instance.history_change_reason = deleting


@contextmanager
def recorded_as(verb: str) -> Iterator[None]:
    """What is saved in here was asked for by `verb`, whichever services do it."""
    token = _recorded_as.set(verb)
    try:
        yield
    finally:
        _recorded_as.reset(token)


def after_changes(call: Callable[[], None]) -> None:
    """Have `call` made whenever a record was changed here and the change was committed: for caches of higher apps."""
    _listeners.append(call)


def announce_change() -> None:
    """Make the calls of `after_changes` once the present transaction is committed."""
    for call in _listeners:
        transaction.on_commit(call)


def _touched(row: Any) -> set[str]:
    return {"updated_at"} & {column.name for column in row._meta.concrete_fields}
