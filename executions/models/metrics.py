"""Ways to score what programs answer."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from executions.querysets import MetricQuerySet
from executions.types import MetricKind
from mlops.models import LanguageModel, Record
from mlops.models.history import TracedHistory
from programs.models import Program
from programs.types import NAME_PATTERN

METRIC_KIND_CHOICES = [
    (MetricKind.EXACT_MATCH.value, _("Exact match")),
    (MetricKind.NORMALISED_MATCH.value, _("Normalised match")),
    (MetricKind.CONTAINS.value, _("Contains")),
    (MetricKind.NUMERIC_EQUALITY.value, _("Numeric equality")),
    (MetricKind.TOKEN_F1.value, _("Token F1")),
    (MetricKind.SET_F1.value, _("Set F1")),
    (MetricKind.JSON_FIELD_MATCH.value, _("JSON field match")),
    (MetricKind.SEMANTIC_SIMILARITY.value, _("Semantic similarity")),
    (MetricKind.JUDGE.value, _("Judge program")),
    (MetricKind.CODE.value, _("Registered code")),
]


class Metric(Record):
    """A version of a named way to score an answer; frozen once something was scored with it.

    `config` depends on the kind. `judge_program` is the program that judges (kind judge), `language_model` the
    embedding model (kind semantic_similarity).
    """

    name = models.CharField(_("name"), max_length=63, validators=[RegexValidator(NAME_PATTERN)])
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    description = models.TextField(_("description"), blank=True)
    kind = models.CharField(_("kind"), max_length=24, choices=METRIC_KIND_CHOICES)
    config = models.JSONField(_("config"), default=dict, blank=True)
    judge_program = models.ForeignKey(
        Program, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("judge program")
    )
    language_model = models.ForeignKey(
        LanguageModel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("embeddings by"),
    )
    frozen_at = models.DateTimeField(_("frozen at"), null=True, editable=False)

    objects = MetricQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory])

    class Meta:
        verbose_name = _("metric")
        verbose_name_plural = _("metrics")
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="metric_version_once"),
            models.CheckConstraint(
                condition=models.Q(kind__in=[kind.value for kind in MetricKind]), name="metric_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
