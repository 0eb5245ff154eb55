"""The credit ledger."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from mlops.models.accounts import User
from mlops.models.base import new_id
from mlops.querysets import OwnedQuerySet
from mlops.types import CreditKind

KIND_CHOICES = [
    (CreditKind.GRANT.value, _("Grant")),
    (CreditKind.RESERVE.value, _("Reserve")),
    (CreditKind.SETTLE.value, _("Settle")),
    (CreditKind.RELEASE.value, _("Release")),
    (CreditKind.REFUND.value, _("Refund")),
]


class CreditEntry(models.Model):
    """One line of the ledger, never changed: a balance is the sum of its user's amounts.

    `reserve` takes an upper estimate before work begins (negative); `settle` gives the estimate back less what was
    really used; `release` gives all of it back. `key` makes every line happen once.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="credit_entries", verbose_name=_("user"))
    kind = models.CharField(_("kind"), max_length=8, choices=KIND_CHOICES)
    amount = models.BigIntegerField(_("amount"), help_text=_("Signed, in micro-credits."))
    used = models.BigIntegerField(_("used"), default=0, help_text=_("What a settle line charged, in micro-credits."))
    key = models.CharField(_("idempotency key"), max_length=120, unique=True)
    subject_kind = models.CharField(_("subject kind"), max_length=32, blank=True)
    subject_id = models.UUIDField(_("subject"), null=True, blank=True)
    granted_by = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("granted by")
    )
    note = models.CharField(_("note"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = OwnedQuerySet.as_manager()

    class Meta:
        verbose_name = _("credit entry")
        verbose_name_plural = _("credit entries")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=[kind.value for kind in CreditKind]), name="credit_entry_kind_known"
            ),
        ]
        indexes = [
            # the ledger of one user, newest first, and the sum that proves the balance
            models.Index(fields=["user", "-id"], name="credit_entry_by_user"),
            # what one execution or job has reserved and used
            models.Index(fields=["subject_id"], name="credit_entry_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"
