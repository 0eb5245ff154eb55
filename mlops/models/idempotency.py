"""Requests that must be answered once."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from mlops.models.accounts import User
from mlops.models.base import new_id
from mlops.querysets import IdempotencyQuerySet


class IdempotencyRecord(models.Model):
    """A key that a user has spent, with the digest of the request it stood for and the row that answers it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("user"))
    key = models.CharField(_("key"), max_length=255)
    digest = models.CharField(_("digest of the request"), max_length=64)
    subject_kind = models.CharField(_("subject kind"), max_length=32)
    subject_id = models.UUIDField(_("subject"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), db_index=True)

    objects = IdempotencyQuerySet.as_manager()

    class Meta:
        verbose_name = _("idempotency record")
        verbose_name_plural = _("idempotency records")
        constraints = [models.UniqueConstraint(fields=["user", "key"], name="idempotency_key_once_per_user")]

    def __str__(self) -> str:
        return self.key
