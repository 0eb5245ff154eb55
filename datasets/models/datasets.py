"""Datasets with their examples."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_fsm import FSMField, transition
from simple_history.models import HistoricalRecords

from datasets.querysets import DatasetQuerySet, ExampleQuerySet
from datasets.types import NAME_PATTERN, DatasetType, VersionState
from mlops.models import Record
from mlops.models.base import new_id
from mlops.models.history import TracedHistory

IMPORTING, READY = (state.value for state in VersionState)
VERSION_STATE_CHOICES = [(IMPORTING, _("Importing")), (READY, _("Ready"))]

TYPE_CHOICES = [
    (DatasetType.TRAINING.value, _("Training")),
    (DatasetType.VALIDATION.value, _("Validation")),
    (DatasetType.TEST.value, _("Test")),
]


class Dataset(Record):
    """A version of a named set of examples for one use; once used, it neither changes nor goes.

    While it is `importing` its examples are invisible; they all become visible at once with `finish_import`.
    """

    name = models.CharField(_("name"), max_length=63, validators=[RegexValidator(NAME_PATTERN)])
    type = models.CharField(_("type"), max_length=10, choices=TYPE_CHOICES)
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    description = models.TextField(_("description"), blank=True)
    schema = models.JSONField(_("schema"), default=dict, blank=True, help_text=_("JSON Schema of one example."))
    size = models.PositiveIntegerField(_("size"), default=0, editable=False)
    content_hash = models.CharField(_("content hash"), max_length=64, editable=False)
    state = FSMField(_("state"), default=READY, choices=VERSION_STATE_CHOICES, protected=True, editable=False)
    statistics = models.JSONField(_("statistics"), default=dict, blank=True, editable=False)
    frozen_at = models.DateTimeField(_("frozen at"), null=True, editable=False)

    objects = DatasetQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory], excluded_fields=["statistics"])

    class Meta:
        verbose_name = _("dataset")
        verbose_name_plural = _("datasets")
        ordering = ["name", "type", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["name", "type", "version"], name="dataset_version_once"),
            models.CheckConstraint(
                condition=models.Q(type__in=[kind.value for kind in DatasetType]), name="dataset_type_known"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=[state.value for state in VersionState]), name="dataset_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}/{self.type}@{self.version}"

    @transition(field=state, source=IMPORTING, target=READY)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def finish_import(self) -> None:
        """All of it is there."""


class Example(models.Model):
    """One record of a dataset. `source` names the row that it was made from, in whatever app that lives."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="examples", verbose_name=_("dataset"))
    position = models.PositiveIntegerField(_("position"))
    data = models.JSONField(_("data"))
    content_hash = models.CharField(_("content hash"), max_length=64, editable=False)
    source_kind = models.CharField(_("source kind"), max_length=32, blank=True, editable=False)
    source_id = models.UUIDField(_("source"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ExampleQuerySet.as_manager()

    class Meta:
        verbose_name = _("example")
        verbose_name_plural = _("examples")
        ordering = ["dataset", "position"]
        constraints = [models.UniqueConstraint(fields=["dataset", "position"], name="example_position_once")]
        indexes = [
            # the same record in another dataset: what has leaked from test into training
            models.Index(fields=["content_hash"], name="example_by_content"),
        ]

    def __str__(self) -> str:
        return f"{self.position}"
