"""Mails about budgets: one when the threshold is reached and one when work is first refused, per period."""

from __future__ import annotations

import logging

from django.core.mail import send_mail
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.models import Budget, BudgetPeriod, User
from mlops.money import as_decimal
from mlops.periods import first_day, next_start, today
from mlops.types import PICO_PER_USD, BudgetCycle, Role

logger = logging.getLogger(__name__)


def tell_of_budgets() -> int:
    """Send the mails that are due, and say how many. Any number of processes may call it: each is sent by one of them.

    It is noted as sent before it is sent, by a comparison in the database. Where the mail server does not take it the
    note is taken back, and the next call tries again.
    """
    # Divided first: the product of the two columns might not fit into one.
    threshold = F("budget__limit") / 100 * F("budget__warn_percent")
    is_warned_of = Q(warned_at=None, spent__gt=0, spent__gte=threshold)
    is_blocked = Q(block_told_at=None, blocked_at__isnull=False)
    return sum(_told(period, "warned_at", _warning(period)) for period in _present(is_warned_of)) + sum(
        _told(period, "block_told_at", _refusal(period)) for period in _present(is_blocked)
    )


def _present(condition: Q) -> list[BudgetPeriod]:
    is_present = Q()
    for cycle in BudgetCycle:
        is_present |= Q(budget__period=cycle.value, starts_on=first_day(cycle, today()))
    present = BudgetPeriod.objects.filter(condition, is_present, budget__is_enabled=True)
    return list(present.select_related("budget__user", "budget__language_model"))


def _told(period: BudgetPeriod, note: str, words: str) -> bool:
    row = BudgetPeriod.objects.filter(pk=period.pk)
    if not row.filter(**{note: None}).update(**{note: timezone.now()}):
        return False
    subject = _("Budget: %(budget)s") % {"budget": period.budget}
    try:
        send_mail(subject, f"{words}\n\n{_figures(period)}\n", None, _addresses(period.budget))
    except OSError as error:  # smtplib's errors are such
        row.update(**{note: None})
        logger.warning("The mail server does not take a mail about a budget: %s", type(error).__name__)
        return False
    return True


def _addresses(budget: Budget) -> list[str]:
    """The admins, and the user whose spending it limits."""
    people = User.objects.filter(Q(role=Role.ADMIN.value) | Q(pk=budget.user_id), is_active=True)
    return sorted(set(people.exclude(email="").values_list("email", flat=True)))


def _warning(period: BudgetPeriod) -> str:
    return _("%(percent)d %% of the budget are spent.") % {"percent": period.budget.warn_percent}


def _refusal(period: BudgetPeriod) -> str:
    return _("What is left of the budget does not cover what was asked for: work is being refused.")


def _figures(period: BudgetPeriod) -> str:
    until = next_start(BudgetCycle(period.budget.period), period.starts_on)
    figures = {
        "spent": as_decimal(period.spent, PICO_PER_USD),
        "limit": as_decimal(period.budget.limit, PICO_PER_USD),
        "until": f"{until:%Y-%m-%d %H:%M} UTC",
    }
    return _("Spent: $%(spent)s of $%(limit)s. The next period begins at %(until)s.") % figures
