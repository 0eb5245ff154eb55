"""The credit ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

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
            # the sweeper: reservations of a span of time
            models.Index(
                fields=["created_at"],
                condition=models.Q(kind=CreditKind.RESERVE.value),
                name="credit_entry_reservations",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
NO_LINE = UUID(int=0)


class ReservationSweep(models.Model):
    """How far the search for leaked reservations has got, in one row.

    Reservations up to `position` (and, of that moment, up to `line`) were looked at in this lap; `oldest_living` is the
    first of them whose work was not over.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    position = models.DateTimeField(default=BEGINNING)
    line = models.UUIDField(default=NO_LINE)
    oldest_living = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("search for leaked reservations")
        verbose_name_plural = _("searches for leaked reservations")

    def __str__(self) -> str:
        return self.position.isoformat()

    def begin_at(self, moment: datetime) -> None:
        """Look at the reservations from `moment` on."""
        self.position, self.line, self.oldest_living = moment, NO_LINE, None

    def begin_next_lap(self) -> None:
        """At the oldest that lived, else where this lap ends."""
        if self.oldest_living is not None:
            self.begin_at(self.oldest_living)
