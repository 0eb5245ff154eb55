"""Program versions scored on dataset versions."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django_fsm import transition

from datasets.models import Dataset, Example
from executions.models.metrics import Metric
from executions.querysets import EvaluationPartQuerySet, EvaluationQuerySet
from executions.types import FinishReason
from mlops.models import Job, LanguageModel, Work
from mlops.models.base import new_id
from mlops.models.jobs import PENDING, RUNNING, job_indexes, state_constraint
from programs.models import Program, PromptSet

FINISH_REASON_CHOICES = [
    (FinishReason.FINISHED.value, _("Finished")),
    (FinishReason.BUDGET.value, _("Budget spent")),
    (FinishReason.CANCELLED.value, _("Cancelled")),
    (FinishReason.DEADLINE.value, _("Out of time")),
    (FinishReason.FAILED.value, _("Failed")),
]


class Evaluation(Work):
    """A program version with its prompt set, scored on all examples of a dataset version with one or more metrics.

        pending -start-> running -complete-> completed
           |                |----fail------> failed
           '---cancel---------cancel-------> cancelled

    Its examples are cut into shards that workers take. A `completed` evaluation has an item for every example unless
    `finish_reason` says that its budget or time ran out.
    """

    # what is scored, on what, by what
    program = models.ForeignKey(
        Program, on_delete=models.PROTECT, related_name="evaluations", verbose_name=_("program"), db_index=False
    )
    prompt_set = models.ForeignKey(
        PromptSet, on_delete=models.PROTECT, related_name="evaluations", verbose_name=_("prompt set")
    )
    dataset = models.ForeignKey(
        Dataset, on_delete=models.PROTECT, related_name="evaluations", verbose_name=_("dataset"), db_index=False
    )
    metrics = models.ManyToManyField(
        Metric, through="EvaluationScore", related_name="evaluations", verbose_name=_("metrics")
    )
    language_model = models.ForeignKey(
        LanguageModel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("language model"),
        help_text=_("Asked for instead of the program's own."),
    )
    backends = models.JSONField(
        _("backends"),
        default=list,
        editable=False,
        help_text=_("The language models that may answer, each with its fallbacks in their order."),
    )
    spec_digest = models.CharField(_("digest of the program"), max_length=64, editable=False)
    source_kind = models.CharField(_("source kind"), max_length=32, blank=True, editable=False)
    source_id = models.UUIDField(_("source"), null=True, blank=True, editable=False)

    # how
    concurrency = models.PositiveSmallIntegerField(_("examples at once per worker"), default=32)
    budget = models.JSONField(_("budget"), default=dict, blank=True, help_text=_("cost, calls, tokens, seconds"))
    estimate = models.JSONField(_("estimate"), default=dict, editable=False)

    # what came of it
    size = models.PositiveIntegerField(_("examples"), default=0, editable=False)
    done = models.PositiveIntegerField(_("scored"), default=0, editable=False)
    errors = models.PositiveIntegerField(_("errors"), default=0, editable=False)
    calls = models.PositiveBigIntegerField(_("model calls"), default=0, editable=False)
    token_usage = models.JSONField(_("token usage"), default=dict, editable=False)
    total_tokens = models.PositiveBigIntegerField(_("tokens"), default=0, editable=False)
    cost = models.BigIntegerField(_("cost"), default=0, editable=False, help_text=_("Pico-dollars, of known prices."))
    unpriced = models.PositiveIntegerField(_("items of unknown cost"), default=0, editable=False)
    seconds = models.FloatField(_("seconds"), default=0, editable=False)
    finish_reason = models.CharField(
        _("finish reason"), max_length=10, choices=FINISH_REASON_CHOICES, blank=True, editable=False
    )
    is_counted = models.BooleanField(_("counted"), default=False, editable=False)

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        verbose_name = _("evaluation")
        verbose_name_plural = _("evaluations")
        ordering = ["-id"]
        constraints = [state_constraint("evaluation")]
        indexes = [
            # the newest of a program, and those to compare it with
            models.Index(fields=["program", "-id"], name="evaluation_by_program"),
            models.Index(fields=["dataset", "-id"], name="evaluation_by_dataset"),
            models.Index(fields=["id"], condition=models.Q(state__in=[PENDING, RUNNING]), name="evaluation_open"),
            # what has ended and is still to be counted as usage
            models.Index(
                fields=["finished_at"],
                condition=models.Q(finished_at__isnull=False, is_counted=False),
                name="evaluation_uncounted",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    @transition(field="state", source=PENDING, target=RUNNING)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def start(self) -> None:
        """A worker has taken its first shard."""
        self.started_at = timezone.now()
        self.revision += 1


class EvaluationScore(models.Model):
    """One metric of an evaluation and, once it has ended, its mean with a confidence interval."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="scores")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="scores", verbose_name=_("metric"))
    position = models.PositiveSmallIntegerField(default=0, editable=False)
    backends = models.JSONField(
        _("backends"),
        null=True,
        editable=False,
        help_text=_("The language models that the metric asks, each with its fallbacks; empty: not noted."),
    )
    mean = models.FloatField(_("mean"), null=True, editable=False)
    low = models.FloatField(_("lower bound"), null=True, editable=False)
    high = models.FloatField(_("upper bound"), null=True, editable=False)
    confidence = models.FloatField(_("confidence"), default=0.95, editable=False)
    n = models.PositiveIntegerField(_("scored"), default=0, editable=False)
    errors = models.PositiveIntegerField(_("errors"), default=0, editable=False)
    majority_baseline = models.FloatField(
        _("majority baseline"),
        null=True,
        editable=False,
        help_text=_("What always saying the commonest answer scores."),
    )

    objects = EvaluationPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("score")
        verbose_name_plural = _("scores")
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["evaluation", "metric"], name="evaluation_metric_once")]

    def __str__(self) -> str:
        return f"{self.metric}"


class EvaluationShard(Job):
    """Some examples of an evaluation, by position, that one worker takes at a time."""

    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="shards")
    first = models.PositiveIntegerField()
    last = models.PositiveIntegerField(help_text=_("Included."))

    objects = EvaluationPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("shard")
        verbose_name_plural = _("shards")
        ordering = ["id"]
        constraints = [
            state_constraint("shard"),
            models.UniqueConstraint(fields=["evaluation", "first"], name="shard_once"),
        ]
        indexes = job_indexes("shard")

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class EvaluationItem(models.Model):
    """One example of an evaluation: what the program answered and how it was scored. Written once.

    `scores` and `feedback` are by name of the metric; an item with an error has no score, of the program or
    of the metric that failed.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    evaluation = models.ForeignKey(Evaluation, on_delete=models.CASCADE, related_name="items", db_index=False)
    example = models.ForeignKey(
        Example, on_delete=models.PROTECT, related_name="evaluation_items", verbose_name=_("example")
    )
    position = models.PositiveIntegerField(_("position"))
    output = models.JSONField(_("output"), null=True)
    scores = models.JSONField(_("scores"), default=dict)
    feedback = models.JSONField(_("feedback"), default=dict)
    error_code = models.CharField(_("error code"), max_length=64, blank=True)
    error_message = models.TextField(_("error message"), blank=True)
    error_module = models.CharField(_("error in module"), max_length=63, blank=True)
    calls = models.PositiveIntegerField(_("model calls"), default=0)
    token_usage = models.JSONField(_("token usage"), default=dict)
    total_tokens = models.PositiveBigIntegerField(_("tokens"), default=0)
    cost = models.BigIntegerField(_("cost"), null=True, help_text=_("Pico-dollars; empty when a price is unknown."))
    duration_ms = models.FloatField(_("duration (ms)"), null=True)
    trace = models.JSONField(_("trace"), null=True)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)

    objects = EvaluationPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("evaluation item")
        verbose_name_plural = _("evaluation items")
        ordering = ["evaluation", "position"]
        constraints = [
            # also the index of its list, and what makes a second answer for the same example impossible
            models.UniqueConstraint(fields=["evaluation", "position"], name="evaluation_item_once"),
        ]

    def __str__(self) -> str:
        return f"{self.position}"
