"""What the versions of datasets and of corpora have in common: the next number, freezing, and going."""

from __future__ import annotations

import re
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from datasets import errors
from datasets.models import Corpus, Dataset
from datasets.types import NAME_PATTERN
from mlops.errors import Conflict
from mlops.models import User
from mlops.services.history import save_with_history, saved_or_none
from mlops.services.locking import locked

BATCH = 1000

Versioned = TypeVar("Versioned", Dataset, Corpus)


def save_as_next_version(row: Dataset | Corpus, actor: User, verb: str, **identity: str) -> None:
    """Save a new row under the next version of its identity. Raises `Conflict` (`version_taken`)."""
    row.version = type(row).objects.next_version(**identity)
    try:
        with transaction.atomic():
            save_with_history(row, actor=actor, reason=verb)
    except IntegrityError:
        raise errors.version_taken() from None


def frozen(row: Versioned, actor: User, verb: str) -> Versioned:
    """The row, frozen from now on if it was not. Raises `NotFound` when it has gone meanwhile."""
    with transaction.atomic():
        current = locked(row)
        if current.frozen_at is None:
            current.frozen_at = timezone.now()
            save_with_history(current, actor=actor, reason=verb, update_fields=["frozen_at"])
    return current


def delete_unused(row: Dataset | Corpus, actor: User, verb: str, refusal: Conflict) -> None:
    """Delete a row that nothing uses. Raises `refusal` otherwise, and `NotFound` when it has gone meanwhile."""
    with transaction.atomic():
        current = locked(row, to_delete=True)
        if current.frozen_at is not None:
            raise refusal
        vars(current).update(_history_user=saved_or_none(actor), _change_reason=verb)
        try:
            current.delete()
        except ProtectedError:
            raise refusal from None


def check_name(name: str) -> None:
    """Raise `Invalid` (`name_invalid`)."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise errors.name_invalid()


def check_size(size: int, limit: int, field: str) -> None:
    """Raise `Invalid` (`empty`, `too_many`)."""
    if size == 0:
        raise errors.empty(field)
    if size > limit:
        raise errors.too_many(field, limit)
