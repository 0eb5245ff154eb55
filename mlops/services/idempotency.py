"""Requests that start work once, however often they are sent: the key is spent in the transaction that starts it.

A key stands for its request for `KEY_LIFETIME`. After that it is free again, whether its record is still there or not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid
from mlops.models import IdempotencyRecord, User
from mlops.sanitiser import refuse_unstorable
from mlops.selectors import not_found

M = TypeVar("M", bound=models.Model)

KEY_LIFETIME = timedelta(hours=24)
MAX_KEY = 255
FIELD = "Idempotency-Key"

FORGET_BATCH = 1_000
FORGET_BATCHES = 50


def once(create: Callable[[], M], model: type[M], *, actor: User, key: str, content: Any) -> tuple[M, bool]:
    """The row that `create` makes, or the one that an earlier request of `actor` with this key made, and whether it is
    such a repetition. Of many at once one creates, the others wait for it.

    `content` is what the key stands for, as JSON. An empty key makes no promise. Raises `Conflict`
    (`idempotency_key_reused`) for the key of another request, `Invalid` (`idempotency_key_invalid`), and what `create`
    raises.
    """
    return once_ready(lambda: create, model, actor=actor, key=key, content=content)


def once_ready(
    prepare: Callable[[], Callable[[], M]], model: type[M], *, actor: User, key: str, content: Any
) -> tuple[M, bool]:
    """As `once`, for what reads much before it writes: `prepare` reads, and gives what creates the row.

    It is called outside of the transaction in which the key is spent, so that nobody who writes waits for it; of many
    at once each prepares and one creates. Raises what `prepare` raises, too.
    """
    if not key:
        return prepare()(), False
    _check(key)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    if earlier := _earlier(model, actor, key, digest):
        return earlier, True
    create = prepare()
    try:
        with transaction.atomic():
            row = create()
            _spend(row, actor, key, digest)
    except IntegrityError:
        if earlier := _earlier(model, actor, key, digest):
            return earlier, True
        raise
    return row, False


def forget_expired_keys() -> int:
    """Delete records of keys that are free again; how many. Each batch is a short transaction, and one call deletes a
    bounded number, so that whoever calls it regularly never holds anything up."""
    forgotten = 0
    for _batch in range(FORGET_BATCHES):
        expired = list(
            IdempotencyRecord.objects.expired().order_by("expires_at").values_list("pk", flat=True)[:FORGET_BATCH]
        )
        # expired still: a key that was spent again meanwhile keeps its record
        forgotten += IdempotencyRecord.objects.expired().filter(pk__in=expired).delete()[0]
        if len(expired) < FORGET_BATCH:
            break
    return forgotten


def _spend(row: models.Model, actor: User, key: str, digest: str) -> None:
    IdempotencyRecord.objects.expired().filter(user=actor, key=key).delete()
    IdempotencyRecord.objects.create(
        user=actor,
        key=key,
        digest=digest,
        subject_kind=row._meta.model_name or "",
        subject_id=row.pk,
        expires_at=timezone.now() + KEY_LIFETIME,
    )


def _earlier(model: type[M], actor: User, key: str, digest: str) -> M | None:
    record = IdempotencyRecord.objects.live().filter(user=actor, key=key).first()
    if record is None:
        return None
    if (record.digest, record.subject_kind) != (digest, model._meta.model_name):
        raise Conflict("idempotency_key_reused", _("This Idempotency-Key was used for another request."), field=FIELD)
    manager: Any = model._base_manager
    row: M | None = manager.filter(pk=record.subject_id).first()
    if row is None:
        raise not_found(model)
    return row


def _check(key: str) -> None:
    refuse_unstorable(key, FIELD)
    if len(key) > MAX_KEY:
        raise Invalid("idempotency_key_invalid", _("At most %d characters are allowed.") % MAX_KEY, field=FIELD)
