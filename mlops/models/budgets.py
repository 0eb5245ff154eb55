"""Limits on what may be spent, and how far each of them is used up."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from mlops.models.accounts import User
from mlops.models.base import Record, new_id
from mlops.models.history import TracedHistory
from mlops.models.language_models import LanguageModel
from mlops.querysets import BudgetPartQuerySet, BudgetQuerySet
from mlops.types import BudgetCycle, BudgetScope

SCOPE_CHOICES = [
    (BudgetScope.USER.value, _("User")),
    (BudgetScope.PROGRAM.value, _("Program")),
    (BudgetScope.LANGUAGE_MODEL.value, _("Language model")),
    (BudgetScope.INSTALLATION.value, _("Installation")),
]
PERIOD_CHOICES = [(BudgetCycle.DAY.value, _("Day")), (BudgetCycle.MONTH.value, _("Month"))]

_NOBODY = Q(user=None, program="", language_model=None)
_ONE_TARGET = (
    Q(scope=BudgetScope.USER.value, user__isnull=False, program="", language_model=None)
    | (Q(scope=BudgetScope.PROGRAM.value, user=None, language_model=None) & ~Q(program=""))
    | Q(scope=BudgetScope.LANGUAGE_MODEL.value, user=None, program="", language_model__isnull=False)
    | (Q(scope=BudgetScope.INSTALLATION.value) & _NOBODY)
)


class Budget(Record):
    """At most `limit` may be spent by, with or on the target in each UTC day or month.

    A program is meant by its name, whatever its version. One enabled or disabled budget per target and kind of period.
    """

    scope = models.CharField(_("scope"), max_length=14, choices=SCOPE_CHOICES)
    user = models.ForeignKey(
        User, on_delete=models.PROTECT, null=True, blank=True, related_name="budgets", verbose_name=_("user")
    )
    program = models.CharField(_("program"), max_length=63, blank=True, help_text=_("Its name: all versions count."))
    language_model = models.ForeignKey(
        LanguageModel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="budgets",
        verbose_name=_("language model"),
    )
    period = models.CharField(_("period"), max_length=5, choices=PERIOD_CHOICES)
    limit = models.BigIntegerField(_("limit"), help_text=_("Pico-dollars per period."))
    warn_percent = models.PositiveSmallIntegerField(
        _("warn at (%)"),
        default=80,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_("Share of the limit at which a mail is sent, once per period."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)

    objects = BudgetQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory])

    class Meta:
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=_ONE_TARGET, name="budget_one_target"),
            models.CheckConstraint(
                condition=Q(period__in=[cycle.value for cycle in BudgetCycle]), name="budget_period_known"
            ),
            models.CheckConstraint(condition=Q(limit__gte=0), name="budget_limit_not_negative"),
            *(
                models.UniqueConstraint(
                    fields=fields, condition=Q(scope=scope.value), name=f"budget_once_per_{scope.value}"
                )
                for scope, fields in (
                    (BudgetScope.USER, ["user", "period"]),
                    (BudgetScope.PROGRAM, ["program", "period"]),
                    (BudgetScope.LANGUAGE_MODEL, ["language_model", "period"]),
                    (BudgetScope.INSTALLATION, ["period"]),
                )
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_scope_display()} {self.target_name}".strip() + f" / {self.get_period_display()}"

    @property
    def target_name(self) -> str:
        """Whom or what it limits, as people call it; empty for the installation."""
        return str(self.user or self.program or self.language_model or "")


class BudgetPeriod(models.Model):
    """One day or month of a budget, in pico-dollars.

    `allocated` is what cannot be given to anybody any more: `spent`, and what the open slices hold besides. `in_doubt`
    is the part of it that processes had reserved when they disappeared: whether it was spent nobody can tell.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="periods", verbose_name=_("budget"))
    starts_on = models.DateField(_("first day"))
    spent = models.BigIntegerField(_("spent"), default=0)
    allocated = models.BigIntegerField(_("allocated"), default=0)
    in_doubt = models.BigIntegerField(_("in doubt"), default=0)
    unpriced = models.PositiveBigIntegerField(
        _("of unknown cost"), default=0, help_text=_("Executions with a model call whose price nobody knows.")
    )
    warned_at = models.DateTimeField(_("warned at"), null=True, editable=False)
    blocked_at = models.DateTimeField(_("first blocked at"), null=True, editable=False)
    block_told_at = models.DateTimeField(null=True, editable=False)

    objects = BudgetPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("budget period")
        verbose_name_plural = _("budget periods")
        ordering = ["-starts_on"]
        constraints = [models.UniqueConstraint(fields=["budget", "starts_on"], name="budget_period_once")]

    def __str__(self) -> str:
        return f"{self.starts_on:%Y-%m-%d}"


class BudgetSlice(models.Model):
    """A part of a budget's period that one process may spend without asking anybody.

    `used` and `reserved` are what the holder last said; `size` is what the period's `allocated` counts for it. A slice
    that is `swept` belonged to a process that disappeared: it holds no more than it had used and reserved.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    period = models.ForeignKey(BudgetPeriod, on_delete=models.CASCADE, related_name="slices")
    holder = models.CharField(_("held by"), max_length=100)
    size = models.BigIntegerField(_("size"), default=0)
    used = models.BigIntegerField(_("used"), default=0)
    reserved = models.BigIntegerField(_("reserved"), default=0)
    unpriced = models.PositiveBigIntegerField(_("of unknown cost"), default=0)
    expires_at = models.DateTimeField(_("expires at"), db_index=True)
    is_swept = models.BooleanField(_("swept"), default=False)

    class Meta:
        verbose_name = _("budget slice")
        verbose_name_plural = _("budget slices")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.holder
