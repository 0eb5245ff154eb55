"""Prompt versions and the sets of them that executions use."""

from __future__ import annotations

from django.core.validators import MaxValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from mlops.models import Record
from mlops.models.base import new_id
from mlops.models.history import TracedHistory
from programs.models.programs import Module, Program
from programs.querysets import ProgramPartQuerySet, PromptVersionQuerySet
from programs.types import PromptSpec


class PromptVersion(Record):
    """A module's instructions and demos. Content never changes; traffic does.

    Of a module's versions those with `traffic_percentage` above 0 are used, in that proportion; they sum to 100.
    """

    module = models.ForeignKey(
        Module, on_delete=models.CASCADE, related_name="prompt_versions", verbose_name=_("module")
    )
    version = models.CharField(_("version"), max_length=40)
    prompt_template = models.TextField(_("instructions"), blank=True)
    demos = models.JSONField(_("demos"), default=list, blank=True)
    performance_metrics = models.JSONField(_("performance metrics"), default=dict, blank=True, editable=False)
    traffic_percentage = models.PositiveSmallIntegerField(
        _("traffic (%)"), default=0, validators=[MaxValueValidator(100)], editable=False
    )
    source_kind = models.CharField(_("source kind"), max_length=32, blank=True, editable=False)
    source_id = models.UUIDField(_("source"), null=True, blank=True, editable=False)

    objects = PromptVersionQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory], excluded_fields=["performance_metrics"])

    class Meta:
        verbose_name = _("prompt version")
        verbose_name_plural = _("prompt versions")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["module", "version"], name="prompt_version_once_per_module"),
            models.CheckConstraint(
                condition=models.Q(traffic_percentage__lte=100), name="prompt_version_traffic_at_most_100"
            ),
        ]
        indexes = [
            # which prompts came from a row of a higher app
            models.Index(
                fields=["source_id"], condition=models.Q(source_id__isnull=False), name="prompt_version_by_source"
            )
        ]

    def __str__(self) -> str:
        return f"{self.module} v{self.version}"

    def as_spec(self) -> PromptSpec:
        return PromptSpec(self.prompt_template, tuple(self.demos))


class PromptSet(models.Model):
    """One prompt version per predicting module of a program: what an execution really used."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    program = models.ForeignKey(
        Program, on_delete=models.CASCADE, related_name="prompt_sets", verbose_name=_("program")
    )
    digest = models.CharField(_("digest"), max_length=64, help_text=_("SHA-256 of the sorted ids of its versions."))
    versions = models.ManyToManyField(PromptVersion, related_name="prompt_sets", verbose_name=_("prompt versions"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ProgramPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("prompt set")
        verbose_name_plural = _("prompt sets")
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["program", "digest"], name="prompt_set_once_per_program")]

    def __str__(self) -> str:
        return f"{self.program} {self.digest[:8]}"
