"""One run of a program version on one input."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_fsm import FSMField, transition

from executions.querysets import ExecutionQuerySet
from executions.types import ExecutionState, Mode, RunError, RunResult, Source
from mlops.models.base import new_id
from mlops.types import MATCHER_NAME, MATCHER_NOTICE, TERMINAL_STATES
from programs.models import Program, PromptSet

STATE_CHOICES = [
    (ExecutionState.PENDING.value, _("Pending")),
    (ExecutionState.RUNNING.value, _("Running")),
    (ExecutionState.COMPLETED.value, _("Completed")),
    (ExecutionState.FAILED.value, _("Failed")),
    (ExecutionState.CANCELLED.value, _("Cancelled")),
]
MODE_CHOICES = [(Mode.SYNC.value, _("Synchronous")), (Mode.ASYNC.value, _("Asynchronous"))]
SOURCE_CHOICES = [(source.value, source.value) for source in Source]
PENDING, RUNNING = ExecutionState.PENDING.value, ExecutionState.RUNNING.value
COMPLETED, FAILED, CANCELLED = (
    ExecutionState.COMPLETED.value,
    ExecutionState.FAILED.value,
    ExecutionState.CANCELLED.value,
)


class Execution(models.Model):
    """One run of a program version on one input; the row is also its place in the queue.

        pending -start-> running -complete-> completed
           |                |----fail------> failed
           |                |---cancel-----> cancelled
           |                '--hand_back---> pending     (lease lost, at most `max_attempts`)
           '---cancel-----> cancelled

    Whoever runs it holds `lease_token`; a write of anybody else is discarded. Transitions only set fields: services
    store them, guarded by state and lease. There is no unique constraint but the key, so that the table can be
    partitioned by time later.
    """

    # identity
    id = models.UUIDField(_("id"), primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="executions",
        verbose_name=_("user"),
        db_index=False,
    )
    program = models.ForeignKey(
        Program, on_delete=models.PROTECT, related_name="executions", verbose_name=_("program"), db_index=False
    )
    prompt_set = models.ForeignKey(
        PromptSet, on_delete=models.PROTECT, related_name="executions", verbose_name=_("prompt set"), db_index=False
    )
    mode = models.CharField(_("mode"), max_length=5, choices=MODE_CHOICES)
    source = models.CharField(_("source"), max_length=10, choices=SOURCE_CHOICES)
    assignment_key = models.CharField(_("assignment key"), max_length=200, blank=True)
    requested_model = models.UUIDField(
        _("language model"), null=True, blank=True, help_text=_("Asked for instead of the program's own.")
    )
    replay_of = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="replays",
        db_constraint=False,
        verbose_name=_("replay of"),
    )

    # content
    input = models.JSONField(_("input"), default=dict)
    output = models.JSONField(_("output"), null=True)
    trace = models.JSONField(_("trace"), null=True)
    flags = models.JSONField(_("flags"), default=list)
    error_code = models.CharField(_("error code"), max_length=64, blank=True)
    error_message = models.TextField(_("error message"), blank=True)
    error_module = models.CharField(_("error in module"), max_length=63, blank=True)

    # what it used
    token_usage = models.JSONField(_("token usage"), default=dict)
    total_tokens = models.PositiveBigIntegerField(_("tokens"), default=0)
    cost = models.BigIntegerField(_("cost"), null=True, help_text=_("Pico-dollars; empty when a price is unknown."))
    prices = models.JSONField(_("price rows"), default=list)
    language_models = models.JSONField(_("language models"), default=dict)
    credits_reserved = models.BigIntegerField(_("credits reserved"), default=0)
    credits_used = models.BigIntegerField(_("credits used"), default=0)
    duration_ms = models.FloatField(_("duration (ms)"), null=True)
    waited_ms = models.FloatField(_("waited for models (ms)"), null=True)

    # state
    state = FSMField(_("state"), default=PENDING, choices=STATE_CHOICES, protected=True, editable=False)
    revision = models.PositiveIntegerField(_("revision"), default=1)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0)
    max_attempts = models.PositiveSmallIntegerField(_("attempts allowed"), default=3)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, editable=False)
    leased_by = models.CharField(_("runs on"), max_length=100, blank=True, editable=False)
    cancel_requested_at = models.DateTimeField(_("cancel requested at"), null=True, editable=False)

    # time
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)
    started_at = models.DateTimeField(_("started at"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)
    is_counted = models.BooleanField(
        _("counted"), default=False, editable=False, help_text=_("Whether the usage of its day has it.")
    )

    objects = ExecutionQuerySet.as_manager()

    class Meta:
        verbose_name = _("execution")
        verbose_name_plural = _("executions")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(state__in=[state.value for state in ExecutionState]), name="execution_state_known"
            ),
        ]
        indexes = [
            # lists by keyset: mine, of a program
            models.Index(fields=["user", "-id"], name="execution_by_user"),
            models.Index(fields=["program", "-id"], name="execution_by_program"),
            models.Index(fields=["prompt_set", "-id"], name="execution_by_prompt_set"),
            # the queue: oldest pending first
            models.Index(fields=["id"], condition=models.Q(state=PENDING), name="execution_pending"),
            # the sweeper: expired leases
            models.Index(fields=["lease_expires_at"], condition=models.Q(state=RUNNING), name="execution_leases"),
            # what failed, newest first
            models.Index(fields=["-id"], condition=models.Q(state=FAILED), name="execution_failed"),
            # what has ended and is still to be counted
            models.Index(
                fields=["finished_at"],
                condition=models.Q(finished_at__isnull=False, is_counted=False),
                name="execution_uncounted",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL_STATES

    @transition(field=state, source=PENDING, target=RUNNING)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def start(self, *, lease_token: uuid.UUID, lease_expires_at: datetime, leased_by: str) -> None:
        """Somebody runs it now, until the lease expires."""
        self.attempt += 1
        self.lease_token = lease_token
        self.lease_expires_at = lease_expires_at
        self.leased_by = leased_by
        self.started_at = timezone.now()
        self.revision += 1

    @transition(field=state, source=RUNNING, target=COMPLETED)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def complete(self, result: RunResult) -> None:
        """The model answered, and the answer is valid."""
        self.output = dict(result.output or {})
        self._finish(result)

    @transition(field=state, source=RUNNING, target=FAILED)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def fail(self, error: RunError, result: RunResult | None = None) -> None:
        """It ended without a valid answer; what was used is kept."""
        self.error_code, self.error_message, self.error_module = error.code, error.message, error.module
        self._finish(result)

    @transition(field=state, source=[PENDING, RUNNING], target=CANCELLED)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def cancel(self, result: RunResult | None = None) -> None:
        """Somebody asked to stop it; what was used is kept."""
        self._finish(result)

    @transition(field=state, source=RUNNING, target=PENDING)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def hand_back(self) -> None:
        """Whoever ran it cannot go on; another attempt may."""
        self.lease_token = None
        self.lease_expires_at = None
        self.leased_by = ""
        self.revision += 1

    def _finish(self, result: RunResult | None) -> None:
        self.finished_at = timezone.now()
        self.revision += 1
        if result is None:
            if not self.attempt:
                self.cost = 0  # no model was asked for anything
            return
        self.trace = dict(result.trace)
        self.flags = list(result.flags)
        self.note_usage(result)
        self.language_models = {name: dict(parameters) for name, parameters in result.models.items()}
        self.duration_ms = result.duration_ms
        self.waited_ms = result.waited_ms

    def note_usage(self, result: RunResult) -> None:
        """What has been billed until now, by this attempt and by those before it."""
        self.token_usage = result.token_usage
        self.total_tokens = result.usage.total
        self.cost = result.cost
        self.prices = list(result.prices)

    @property
    def notice(self) -> str:
        """What whoever reads the output has to know: that the example matcher answered, or what was flagged."""
        if MATCHER_NAME in self.token_usage.get("by_model", {}):
            return str(_(MATCHER_NOTICE))
        return ", ".join(self.flags)

    @property
    def subject(self) -> dict[str, Any]:
        """How lower apps name this row."""
        return {"subject_kind": "execution", "subject_id": self.pk}
