"""What is compiled or evaluated again and again."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import PeriodicTask
from simple_history.models import HistoricalRecords

from mlops.models import Record
from mlops.models.history import TracedHistory
from optimizations.querysets import ScheduleQuerySet
from programs.types import NAME_PATTERN

RUN_FIELDS = ("due_after", "claimed_at", "last_run_at", "last_kind", "last_id", "last_result", "last_error")
"""What a run writes: no change of the schedule, so that its history leaves them out."""

VERB_CHOICES = [("compile", _("Compile")), ("evaluate", _("Evaluate"))]


class Schedule(Record):
    """A verb, its arguments and when it is due; it runs with the rights, and at the cost, of `user`.

    `arguments` are those of the verb over REST; a dataset is named without its version, so that each run takes the
    newest. `periodic_task` is the row of django-celery-beat that fires it, which nobody edits.
    """

    name = models.CharField(_("name"), max_length=63, unique=True, validators=[RegexValidator(NAME_PATTERN)])
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="schedules", verbose_name=_("owner")
    )
    verb = models.CharField(_("verb"), max_length=10, choices=VERB_CHOICES)
    arguments = models.JSONField(_("arguments"), default=dict)
    program_name = models.CharField(
        _("program"), max_length=63, editable=False, help_text=_("Of which program the arguments name a version.")
    )
    crontab = models.CharField(
        _("crontab"), max_length=100, help_text=_("minute hour day-of-month month day-of-week, such as 0 6 * * mon")
    )
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC")
    is_enabled = models.BooleanField(_("enabled"), default=True)
    deploy_if_better = models.BooleanField(
        _("deploy if better"), default=False, help_text=_("Deploy the result of a compile that is proven better.")
    )
    periodic_task = models.OneToOneField(
        PeriodicTask, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    due_after = models.DateTimeField(
        default=timezone.now, editable=False, help_text=_("Due minutes up to here are done with.")
    )
    claimed_at = models.DateTimeField(
        null=True, editable=False, help_text=_("When a due minute was taken that has not led to a start yet.")
    )
    last_run_at = models.DateTimeField(_("last run at"), null=True, editable=False)
    last_kind = models.CharField(_("last started"), max_length=32, blank=True, editable=False)
    last_id = models.UUIDField(_("last started"), null=True, editable=False)
    last_result = models.TextField(_("last result"), blank=True, editable=False)
    last_error = models.TextField(_("last error"), blank=True, editable=False)

    objects = ScheduleQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory], excluded_fields=["periodic_task", "program_name", *RUN_FIELDS])

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
