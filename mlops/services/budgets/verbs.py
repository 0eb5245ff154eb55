"""Budgets: set, changed, taken away. Admins only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from mlops.errors import Conflict, Invalid
from mlops.models import Budget, BudgetPeriod, LanguageModel, User
from mlops.policies import budget_policy
from mlops.services.history import announce_change, save_with_history, saved_or_none
from mlops.services.locking import locked
from mlops.services.reverting import revertible
from mlops.services.validation import apply
from mlops.types import BudgetCycle, BudgetScope
from mlops.verbs import verb

EDITABLE = ("limit", "warn_percent", "is_enabled")
MAX_LIMIT = 10**18
"""Pico-dollars: a million dollars per period."""

PROGRAM_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@verb(budget_policy, "create")
def create_budget(
    *,
    actor: User,
    scope: BudgetScope | str,
    period: BudgetCycle | str,
    limit: int,
    user: User | None = None,
    program: str = "",
    language_model: LanguageModel | None = None,
    **fields: Any,
) -> Budget:
    """Limit what may be spent per UTC `period` to `limit` pico-dollars, from now on: what was spent before is not
    counted. The target is the one that `scope` names; a program need not exist yet.

    `fields`: `warn_percent` (80), `is_enabled`. Raises `Forbidden`, `Invalid` (`budget_target_invalid`,
    `budget_limit_invalid`) or `Conflict` (`budget_exists`).
    """
    budget_policy.check(actor, "create")
    budget = Budget(scope=scope, period=period, user=user, program=program, language_model=language_model)
    _apply(budget, {"scope": scope, "period": period, "program": program, "limit": limit, **fields}, is_new=True)
    _check_target(budget)
    try:
        with transaction.atomic():
            return save_with_history(budget, actor=actor, reason="create")
    except IntegrityError:
        message = _("There is a budget of this target and period already.")
        raise Conflict("budget_exists", message, field="scope") from None


@verb(budget_policy, "change")
def update_budget(*, actor: User, budget: Budget, fields: Mapping[str, Any]) -> Budget:
    """Change `EDITABLE` fields. All processes heed it within 5 s: a higher limit lets work through again, a lower one
    refuses what is not under way yet. Raises `Forbidden` or `Invalid`."""
    budget_policy.check(actor, "change", budget)
    with transaction.atomic():
        budget = locked(budget)
        _apply(budget, fields)
        return save_with_history(budget, actor=actor, reason="change", update_fields=fields.keys())


@verb(budget_policy, "delete")
def delete_budget(*, actor: User, budget: Budget) -> None:
    """Take away a budget of which nothing was spent; others are disabled. Raises `Forbidden` or `Conflict`
    (`budget_in_use`)."""
    budget_policy.check(actor, "delete", budget)
    with transaction.atomic():
        budget = locked(budget, to_delete=True)
        if BudgetPeriod.objects.filter(budget=budget).exclude(spent=0, allocated=0).exists():
            raise Conflict("budget_in_use", _("Something was spent of this budget: disable it instead."))
        budget._history_user = saved_or_none(actor)  # type: ignore[attr-defined]  # read by simple-history
        budget._change_reason = "delete"  # type: ignore[attr-defined]
        budget.delete()
        announce_change()


def _apply(budget: Budget, fields: Mapping[str, Any], *, is_new: bool = False) -> None:
    limit = fields.get("limit", budget.limit)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= MAX_LIMIT:
        message = _("A limit is a number of dollars from 0 to a million.")
        raise Invalid("budget_limit_invalid", message, field="limit")
    apply(budget, fields, allowed=(*EDITABLE, "scope", "period", "program") if is_new else EDITABLE)


def _check_target(budget: Budget) -> None:
    """Exactly the target that the scope names."""
    targets = {"user": budget.user, "program": budget.program, "language_model": budget.language_model}
    for name, target in targets.items():
        if bool(target) != (name == budget.scope):
            message = _("A budget names the target of its scope, and no other.")
            raise Invalid("budget_target_invalid", message, field=name)
    if budget.program and not PROGRAM_NAME.fullmatch(budget.program):
        raise Invalid("budget_target_invalid", _("No program can have this name."), field="program")


revertible(Budget, EDITABLE, lambda actor, row, changes: update_budget(actor=actor, budget=row, fields=changes))
