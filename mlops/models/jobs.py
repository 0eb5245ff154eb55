"""Work that takes longer than a request: the row is its place in the queue."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_fsm import FSMField, transition

from mlops.models.base import new_id
from mlops.types import TERMINAL_STATES, JobState

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = (state.value for state in JobState)
STATE_CHOICES = [
    (PENDING, _("Pending")),
    (RUNNING, _("Running")),
    (COMPLETED, _("Completed")),
    (FAILED, _("Failed")),
    (CANCELLED, _("Cancelled")),
]


class Work(models.Model):
    """Abstract: work of `user` that was accepted and ends exactly once.

    Transitions only set fields; services store them. `revision` moves with everything that a watcher may want to hear,
    progress included.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", verbose_name=_("user")
    )
    state = FSMField(_("state"), default=PENDING, choices=STATE_CHOICES, protected=True, editable=False)
    revision = models.PositiveIntegerField(_("revision"), default=1, editable=False)
    progress = models.JSONField(_("progress"), default=dict, blank=True, editable=False)
    error_code = models.CharField(_("error code"), max_length=64, blank=True, editable=False)
    error_message = models.TextField(_("error message"), blank=True, editable=False)
    cancel_requested_at = models.DateTimeField(_("cancel requested at"), null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started at"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        abstract = True

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL_STATES

    @transition(field=state, source=RUNNING, target=COMPLETED)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def complete(self) -> None:
        """It is done."""
        self._finish(COMPLETED)

    @transition(field=state, source=RUNNING, target=FAILED)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def fail(self, code: str, message: str) -> None:
        """It cannot be done."""
        self.error_code, self.error_message = code, message
        self._finish(FAILED)

    @transition(field=state, source=[PENDING, RUNNING], target=CANCELLED)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def cancel(self) -> None:
        """Somebody asked to stop it."""
        self._finish(CANCELLED)

    def _finish(self, state: str) -> None:
        """What every end sets; `state` is the one that it leads to."""
        self.finished_at = timezone.now()
        self.revision += 1

    @property
    def subject(self) -> dict[str, Any]:
        """How lower apps name this row."""
        return {"subject_kind": self._meta.model_name, "subject_id": self.pk}


class Job(Work):
    """Abstract: work that one worker at a time does, the one that holds its lease; the row is its place in the queue.

        pending -start-> running -complete-> completed
           |                |----fail------> failed
           |                |---cancel-----> cancelled
           |                '--hand_back---> pending     (its worker stopped or disappeared)
           '---cancel-----> cancelled

    `idle_attempts` counts attempts since the job last got on, so that one that kills its workers ends, and one that is
    merely unlucky does not.
    """

    attempt = models.PositiveIntegerField(_("attempt"), default=0, editable=False)
    idle_attempts = models.PositiveSmallIntegerField(_("attempts without progress"), default=0, editable=False)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    leased_by = models.CharField(_("runs on"), max_length=100, blank=True, editable=False)

    class Meta:
        abstract = True

    @transition(field="state", source=PENDING, target=RUNNING)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def start(self, *, lease_token: uuid.UUID, lease_expires_at: datetime, leased_by: str) -> None:
        """Somebody works on it now, until the lease expires."""
        self.attempt += 1
        self.idle_attempts += 1
        self.lease_token = lease_token
        self.lease_expires_at = lease_expires_at
        self.leased_by = leased_by
        self.started_at = self.started_at or timezone.now()
        self.revision += 1

    @transition(field="state", source=RUNNING, target=PENDING)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def hand_back(self) -> None:
        """Whoever worked on it cannot go on; another worker may."""
        self._give_up_lease()
        self.revision += 1

    def _finish(self, state: str) -> None:
        self._give_up_lease()
        super()._finish(state)

    def _give_up_lease(self) -> None:
        self.lease_token = None
        self.lease_expires_at = None
        self.leased_by = ""


def state_constraint(name: str) -> models.CheckConstraint:
    """Of every concrete kind of work: `queryset.update` walks past the state machine."""
    return models.CheckConstraint(condition=models.Q(state__in=list(JobState)), name=f"{name}_state_known")


def job_indexes(name: str) -> list[models.Index]:
    """Indexes of a concrete job: the queue, oldest first, and the sweeper's view of expired leases."""
    return [
        models.Index(fields=["id"], condition=models.Q(state=PENDING), name=f"{name}_pending"),
        models.Index(fields=["lease_expires_at"], condition=models.Q(state=RUNNING), name=f"{name}_leases"),
    ]
