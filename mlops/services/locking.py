"""Reading a row again under its lock."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models
from django.utils.translation import gettext as _

from mlops.errors import NotFound

M = TypeVar("M", bound=models.Model)


def locked(row: M, *, to_delete: bool = False) -> M:
    """The row as it is now, locked until the transaction ends. Raises `NotFound` when it has gone meanwhile.

    Rows that refer to it can still be stored, unless it is locked `to_delete` it: PostgreSQL looks at foreign keys when
    a transaction commits, and one that waits there while it holds locks itself is halfway into a deadlock.
    """
    manager: Any = type(row)._base_manager
    found: M | None = manager.select_for_update(no_key=not to_delete).filter(pk=row.pk).first()
    if found is None:
        raise NotFound(f"{type(row)._meta.model_name}_not_found", _("There is no such row any more."))
    return found
