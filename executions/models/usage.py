"""What was used per day: sums over what has ended, so that reports read days instead of executions.

Each execution, evaluation and optimization is counted once, by the UTC day on which it ended, in several grains at a
time: for everybody (`user` is empty) and for its user, as a whole (`language_model` is empty) and for every language
model that it used. A query chooses one grain; sums over two of them would count twice.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from executions.querysets import UsageQuerySet
from executions.types import UsageKind
from programs.models import Program, PromptSet

USAGE_KIND_CHOICES = [
    (UsageKind.EXECUTION.value, _("Executions")),
    (UsageKind.EVALUATION.value, _("Evaluations")),
    (UsageKind.OPTIMIZATION.value, _("Optimizations")),
]

OF_EVERYBODY = models.Q(user=None)


class UsageDay(models.Model):
    """What ended on a day and what it used.

    Of a language model `count` and `failed` are of the executions that used it, `cost` is the part of their cost that
    is its own, and `credits` are 0. Credits are those of executions; what evaluations and optimizations were charged
    stands in the ledger.

    `histogram` counts executions that completed or failed by how long they took: bucket b holds durations above
    2^((b-1)/8) ms and up to 2^(b/8) ms, the exponential buckets of Prometheus' native histograms (schema 3). They merge
    by addition, and a percentile read from them is off by at most 4.4 %, as in DDSketch (Masson, Rim, Lee: VLDB 2019).
    One column holds them all, since a row for every bucket made as many rows as there are executions;
    `executions.runtime.latency` says how.
    """

    day = models.DateField(_("day"), editable=False, help_text=_("Of the end, in UTC."))
    kind = models.CharField(_("kind"), max_length=12, choices=USAGE_KIND_CHOICES, editable=False)
    program = models.ForeignKey(
        Program, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("program")
    )
    prompt_set = models.ForeignKey(
        PromptSet, on_delete=models.PROTECT, related_name="+", db_index=False, verbose_name=_("prompt set")
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        db_index=False,
        verbose_name=_("user"),
        help_text=_("Empty: everybody."),
    )
    language_model = models.CharField(
        _("language model"), max_length=255, blank=True, help_text=_("Its name; empty: all of them.")
    )

    count = models.BigIntegerField(_("ended"), default=0)
    failed = models.BigIntegerField(_("failed"), default=0)
    cancelled = models.BigIntegerField(_("cancelled"), default=0)
    unpriced = models.BigIntegerField(_("of unknown cost"), default=0)
    calls = models.BigIntegerField(_("model calls"), default=0, help_text=_("That were billed."))
    input_tokens = models.BigIntegerField(_("input tokens"), default=0)
    cached_tokens = models.BigIntegerField(_("cached tokens"), default=0, help_text=_("A part of the input."))
    cache_write_tokens = models.BigIntegerField(_("cache write tokens"), default=0, help_text=_("A part of the input."))
    output_tokens = models.BigIntegerField(_("output tokens"), default=0)
    reasoning_tokens = models.BigIntegerField(_("reasoning tokens"), default=0, help_text=_("A part of the output."))
    cost = models.BigIntegerField(_("cost"), default=0, help_text=_("Pico-dollars, of known prices."))
    credits = models.BigIntegerField(_("credits"), default=0, help_text=_("Micro-credits charged for executions."))
    duration_us = models.BigIntegerField(_("duration (us)"), default=0)
    histogram = models.TextField(_("histogram"), default="", blank=True, help_text=_("Bucket and how many."))

    objects = UsageQuerySet.as_manager()

    class Meta:
        verbose_name = _("usage of a day")
        verbose_name_plural = _("usage")
        constraints = [
            # One row per grain; two constraints, since nulls are never equal. They also serve what is asked about
            # programs and about users.
            models.UniqueConstraint(
                fields=["program", "day", "kind", "prompt_set", "language_model"],
                condition=OF_EVERYBODY,
                name="usage_of_program",
            ),
            models.UniqueConstraint(
                fields=["user", "day", "kind", "program", "prompt_set", "language_model"],
                condition=~OF_EVERYBODY,
                name="usage_of_user",
            ),
        ]
        indexes = [
            # a period, over all programs or all users
            models.Index(fields=["day"], condition=OF_EVERYBODY, name="usage_by_day"),
            models.Index(fields=["day"], condition=~OF_EVERYBODY, name="usage_by_day_of_users"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.kind}"
