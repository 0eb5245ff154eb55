"""Compile jobs, every state that they tried, and the answers that they have paid for."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from datasets.models import Dataset
from executions.models import Evaluation, Metric
from executions.models.evaluations import FINISH_REASON_CHOICES
from mlops.models import Job, LanguageModel
from mlops.models.base import new_id
from mlops.models.jobs import CANCELLED, FAILED, PENDING, RUNNING, job_indexes, state_constraint
from optimizations.querysets import OptimizationPartQuerySet, OptimizationQuerySet
from optimizations.types import FinishReason, ScoredOn
from programs.models import Program, PromptSet

SCORED_ON_CHOICES = [
    (ScoredOn.TRAINING.value, _("Training set")),
    (ScoredOn.VALIDATION.value, _("Validation set")),
    (ScoredOn.NOTHING.value, _("Nothing")),
]


class Optimization(Job):
    """One compile job: an optimizer looks for better prompts of a program version on a training set, within a budget.

    The baseline and the best candidate are both evaluated on the validation set. Whatever was found becomes
    `result_program`, a draft; that it is better is `is_better`, which is empty while nothing was proven.
    """

    # what is compiled, on what, how
    program = models.ForeignKey(
        Program, on_delete=models.PROTECT, related_name="optimizations", verbose_name=_("program"), db_index=False
    )
    prompt_set = models.ForeignKey(
        PromptSet, on_delete=models.PROTECT, related_name="+", verbose_name=_("prompts to begin with")
    )
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="+", verbose_name=_("training set"))
    validation_set = models.ForeignKey(
        Dataset, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("validation set")
    )
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+", verbose_name=_("metric"))
    optimizer = models.CharField(_("optimizer"), max_length=64)
    params = models.JSONField(_("parameters"), default=dict, blank=True)
    seed = models.PositiveIntegerField(_("seed"), default=0)
    prompt_model = models.ForeignKey(
        LanguageModel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("prompt model"),
        help_text=_("Proposes instructions; empty: the model of the program."),
    )
    budget = models.JSONField(_("budget"), default=dict, blank=True, help_text=_("cost, calls, tokens, seconds"))
    estimate = models.JSONField(_("estimate"), default=dict, editable=False)
    warnings = models.JSONField(_("warnings"), default=list, editable=False)
    spec_digest = models.CharField(_("digest of the program"), max_length=64, editable=False)
    runtime_version = models.PositiveIntegerField(
        _("runtime version"), default=1, editable=False, help_text=_("Older workers leave the job alone.")
    )
    source_kind = models.CharField(_("source kind"), max_length=32, blank=True, editable=False)
    source_id = models.UUIDField(_("source"), null=True, blank=True, editable=False)

    # what the optimizer used
    calls = models.PositiveBigIntegerField(_("model calls"), default=0, editable=False)
    token_usage = models.JSONField(_("token usage"), default=dict, editable=False)
    total_tokens = models.PositiveBigIntegerField(_("tokens"), default=0, editable=False)
    cost = models.BigIntegerField(_("cost"), null=True, default=0, editable=False, help_text=_("Pico-dollars."))
    seconds = models.FloatField(_("seconds"), default=0, editable=False)

    # what came of it
    finish_reason = models.CharField(
        _("finish reason"), max_length=10, choices=FINISH_REASON_CHOICES, blank=True, editable=False
    )
    baseline_evaluation = models.ForeignKey(
        Evaluation, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("evaluation before")
    )
    best_evaluation = models.ForeignKey(
        Evaluation, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("evaluation after")
    )
    comparison = models.JSONField(_("comparison"), default=dict, editable=False)
    is_better = models.BooleanField(_("proven better"), null=True, editable=False)
    result_program = models.OneToOneField(
        Program, on_delete=models.PROTECT, null=True, related_name="compiled_from", verbose_name=_("result")
    )
    is_counted = models.BooleanField(_("counted"), default=False, editable=False)
    is_noted = models.BooleanField(
        _("noted"), default=False, editable=False, help_text=_("The schedule that started it has taken its outcome.")
    )

    objects = OptimizationQuerySet.as_manager()

    class Meta:
        verbose_name = _("optimization")
        verbose_name_plural = _("optimizations")
        ordering = ["-id"]
        constraints = [state_constraint("optimization")]
        indexes = [
            *job_indexes("optimization"),
            models.Index(fields=["program", "-id"], name="optimization_by_program"),
            # what keeps a program from being archived
            models.Index(
                fields=["program"], condition=models.Q(state__in=[PENDING, RUNNING]), name="optimization_open"
            ),
            # what has ended and is still to be counted as usage
            models.Index(
                fields=["finished_at"],
                condition=models.Q(finished_at__isnull=False, is_counted=False),
                name="optimization_uncounted",
            ),
            # what a schedule started and has not taken the outcome of
            models.Index(
                fields=["source_id"],
                condition=models.Q(source_kind="schedule", is_noted=False),
                name="optimization_unnoted",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    def _finish(self, state: str) -> None:
        """Every end has its reason; of one that is completed it is why the optimizer stopped."""
        super()._finish(state)
        if state == FAILED:
            self.finish_reason = FinishReason.FAILED.value
        elif state == CANCELLED:
            self.finish_reason = FinishReason.CANCELLED.value
        else:
            self.finish_reason = self.finish_reason or FinishReason.FINISHED.value


class Candidate(models.Model):
    """A state that an optimization tried: instructions and demos per module, and how it scored on `n` examples.

    `score` is the mean of the metric while compiling; the judgement of the best one is an evaluation of its own.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    optimization = models.ForeignKey(Optimization, on_delete=models.CASCADE, related_name="candidates")
    number = models.PositiveIntegerField(_("number"))
    label = models.CharField(_("label"), max_length=200, blank=True)
    state = models.JSONField(_("state"), default=dict)
    digest = models.CharField(_("digest"), max_length=64)
    score = models.FloatField(_("score"), null=True)
    n = models.PositiveIntegerField(_("examples"), default=0)
    scored_on = models.CharField(
        _("scored on"), max_length=10, choices=SCORED_ON_CHOICES, default=ScoredOn.NOTHING.value
    )
    is_partial = models.BooleanField(
        _("partial"), default=False, help_text=_("Scored on a part of the set only, which says less.")
    )
    is_best = models.BooleanField(_("best"), default=False)
    calls = models.PositiveBigIntegerField(_("model calls"), default=0)
    token_usage = models.JSONField(_("token usage"), default=dict)
    cost = models.BigIntegerField(_("cost"), null=True, help_text=_("Pico-dollars, since the candidate before."))
    seconds = models.FloatField(_("seconds"), default=0)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)

    objects = OptimizationPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("candidate")
        verbose_name_plural = _("candidates")
        ordering = ["optimization", "number"]
        constraints = [
            models.UniqueConstraint(fields=["optimization", "number"], name="candidate_number_once"),
            models.UniqueConstraint(
                fields=["optimization"], condition=models.Q(is_best=True), name="candidate_best_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number}"


class MemoEntry(models.Model):
    """One answer that an optimization has paid for: the k-th one to a request, so that it is never paid again.

    `response` also holds what it used: `calls`, `usage` by model, and `cost` in pico-dollars. All entries of a job
    together are what its search was billed.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    optimization = models.ForeignKey(
        Optimization, on_delete=models.CASCADE, related_name="memo_entries", db_index=False
    )
    request_hash = models.CharField(max_length=64)
    occurrence = models.PositiveIntegerField()
    response = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("memo entry")
        verbose_name_plural = _("memo entries")
        constraints = [
            # also the index of its look-up
            models.UniqueConstraint(fields=["optimization", "request_hash", "occurrence"], name="memo_entry_once"),
        ]

    def __str__(self) -> str:
        return f"{self.request_hash[:8]}#{self.occurrence}"
