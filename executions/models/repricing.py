"""Correcting what executions cost after prices were corrected: the difference, and what it was before."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from executions.models.executions import Execution
from executions.querysets import CostCorrectionQuerySet, RepricingPartQuerySet, RepricingQuerySet
from mlops.models import Job, LanguageModel
from mlops.models.base import new_id
from mlops.models.jobs import CANCELLED, FAILED, PENDING, RUNNING, job_indexes, state_constraint


class Repricing(Job):
    """A look at the executions that began in a period: what they cost by the prices in force when they began.

    A `dry_run` only shows the difference; applying it is another row, which names it as its `preview`, uses the same
    prices (those that were entered before `prices_as_of`) and changes what was shown. Of executions that have not ended
    nothing is said. Totals are of the executions that change.
    """

    language_model = models.ForeignKey(
        LanguageModel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("language model"),
        help_text=_("Only what this one cost; empty: all."),
    )
    program = models.CharField(
        _("program"), max_length=63, blank=True, help_text=_("A program's name, for all its versions; empty: all.")
    )
    since = models.DateTimeField(_("since"))
    until = models.DateTimeField(_("until"))
    dry_run = models.BooleanField(_("only show"), default=True)
    refunds_credits = models.BooleanField(
        _("refund credits"), default=False, help_text=_("Give back what was charged too much.")
    )
    preview = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="applied_by",
        verbose_name=_("preview"),
    )
    prices_as_of = models.DateTimeField(_("prices as of"), default=timezone.now, editable=False)
    position = models.UUIDField(null=True, editable=False, help_text=_("The last execution that was looked at."))

    looked_at = models.PositiveBigIntegerField(_("executions looked at"), default=0, editable=False)
    changed = models.PositiveBigIntegerField(_("executions that change"), default=0, editable=False)
    priced = models.PositiveBigIntegerField(_("that had no cost and get one"), default=0, editable=False)
    unpriced = models.PositiveBigIntegerField(_("that lose their cost"), default=0, editable=False)
    cost_before = models.BigIntegerField(_("cost before"), default=0, editable=False, help_text=_("Pico-dollars."))
    cost_after = models.BigIntegerField(_("cost after"), default=0, editable=False, help_text=_("Pico-dollars."))
    credits_overcharged = models.BigIntegerField(_("credits charged too much"), default=0, editable=False)
    credits_undercharged = models.BigIntegerField(_("credits charged too little"), default=0, editable=False)

    objects = RepricingQuerySet.as_manager()

    class Meta:
        verbose_name = _("repricing")
        verbose_name_plural = _("repricings")
        ordering = ["-id"]
        constraints = [
            state_constraint("repricing"),
            models.CheckConstraint(condition=models.Q(since__lt=models.F("until")), name="repricing_period"),
            # Two at once would each note the other's figures as those before.
            models.UniqueConstraint(
                fields=["dry_run"],
                condition=models.Q(dry_run=False, state__in=[PENDING, RUNNING]),
                name="repricing_one_at_a_time",
            ),
        ]
        indexes = job_indexes("repricing")

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d} - {self.until:%Y-%m-%d}"

    @property
    def is_applicable(self) -> bool:
        """Whether its difference can be made true now."""
        return self.dry_run and self.state not in (PENDING, RUNNING, FAILED, CANCELLED) and self.changed > 0


class RepricingDay(models.Model):
    """The difference that a repricing makes for one language model on one UTC day, of executions that change."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    repricing = models.ForeignKey(Repricing, on_delete=models.CASCADE, related_name="days")
    day = models.DateField(_("day"))
    language_model = models.CharField(_("language model"), max_length=120)
    executions = models.PositiveBigIntegerField(_("executions"), default=0)
    priced = models.PositiveBigIntegerField(_("without a cost before"), default=0)
    unpriced = models.PositiveBigIntegerField(_("without a cost after"), default=0)
    cost_before = models.BigIntegerField(_("cost before"), default=0)
    cost_after = models.BigIntegerField(_("cost after"), default=0)

    objects = RepricingPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("day of a repricing")
        verbose_name_plural = _("days of repricings")
        ordering = ["day", "language_model"]
        constraints = [
            models.UniqueConstraint(fields=["repricing", "day", "language_model"], name="repricing_day_once")
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.language_model}"


class CostCorrection(models.Model):
    """What an execution cost before and after a repricing, and by which price rows.

    There is one row per changed execution, never changed itself, so that every figure that was ever reported can be
    explained.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    repricing = models.ForeignKey(Repricing, on_delete=models.PROTECT, related_name="corrections", db_index=False)
    execution = models.ForeignKey(
        Execution,
        on_delete=models.CASCADE,
        related_name="corrections",
        db_constraint=False,
        verbose_name=_("execution"),
    )
    cost_before = models.BigIntegerField(_("cost before"), null=True)
    cost_after = models.BigIntegerField(_("cost after"), null=True)
    prices_before = models.JSONField(_("price rows before"), default=list)
    prices_after = models.JSONField(_("price rows after"), default=list)
    credits_refunded = models.BigIntegerField(_("credits refunded"), default=0)

    objects = CostCorrectionQuerySet.as_manager()

    class Meta:
        verbose_name = _("correction of a cost")
        verbose_name_plural = _("corrections of costs")
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["repricing", "execution"], name="cost_corrected_once")]

    def __str__(self) -> str:
        return str(self.execution_id)
