"""The budgets in force as values: which of them an execution is charged to, and in which period.

A process keeps the table of all enabled budgets, so that nothing is read for an execution. Whether the table is still
true is seen from the history of budgets, which only ever grows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple, TypeAlias
from uuid import UUID

from django.db.models import Count, Max
from django.utils.translation import gettext as _

from mlops.errors import InsufficientCredits
from mlops.models import Budget, User
from mlops.money import as_decimal
from mlops.periods import next_start
from mlops.policies import budget_policy
from mlops.types import PICO_PER_USD, BudgetCycle, BudgetScope

Version: TypeAlias = tuple[int, int]
"""Changes with every change of any budget."""


@dataclass(frozen=True, slots=True)
class Terms:
    """An enabled budget, as far as it says whose spending it counts. The limit is the database's to know."""

    id: UUID
    scope: BudgetScope
    cycle: BudgetCycle
    user_id: UUID | None = None
    program: str = ""
    model: str = ""
    """The name of its language model; the others count the cost of all models."""

    @property
    def key(self) -> tuple[BudgetScope, object]:
        return self.scope, self.user_id or self.program or self.model


class Charged(NamedTuple):
    """On whose account work is done, and the highest cost that is expected of it, in pico-dollars.

    `by_model` has every language model that may be asked, by its name; those that stand in for others make its sum
    larger than `cost`.
    """

    user_id: UUID
    program: str
    cost: int
    by_model: Mapping[str, int]

    def amount_of(self, terms: Terms) -> int:
        return self.by_model.get(terms.model, 0) if terms.model else self.cost


class Table:
    """All enabled budgets, by what they limit."""

    def __init__(self, version: Version | None = None, rows: Iterable[Terms] = ()) -> None:
        self.version = version
        self._by_key: dict[tuple[BudgetScope, object], list[Terms]] = defaultdict(list)
        for terms in rows:
            self._by_key[terms.key].append(terms)

    @property
    def is_empty(self) -> bool:
        return not self._by_key

    def in_force(self, charged: Charged) -> list[Terms]:
        """Those that `charged` counts to, in the one order in which everybody takes from them."""
        found = [*self._of(BudgetScope.USER, charged.user_id), *self._of(BudgetScope.PROGRAM, charged.program)]
        found += self._of(BudgetScope.INSTALLATION, "")
        for model in charged.by_model:
            found += self.of_model(model)
        return sorted(found, key=lambda terms: terms.id)

    def of_model(self, model: str) -> list[Terms]:
        return self._of(BudgetScope.LANGUAGE_MODEL, model)

    def _of(self, scope: BudgetScope, target: object) -> list[Terms]:
        return self._by_key.get((scope, target), [])


class Exhausted(Exception):
    """What is left of a budget does not cover the work. `limit` in pico-dollars."""

    def __init__(self, terms: Terms, starts_on: date, limit: int) -> None:
        super().__init__(terms.scope.value)
        self.terms, self.starts_on, self.limit = terms, starts_on, limit

    def told_to(self, actor: User | None) -> InsufficientCredits:
        """The refusal in words for `actor`: figures only for who may see the budget."""
        resets_at = next_start(self.terms.cycle, self.starts_on)
        extra: dict[str, object] = {
            "budget": self.terms.scope.value,
            "period": self.terms.cycle.value,
            "resets_at": resets_at.isoformat(),
        }
        if actor is not None and budget_policy.can(actor, "view", self.terms):
            extra |= {"budget_id": str(self.terms.id), "limit": as_decimal(self.limit, PICO_PER_USD)}
        return InsufficientCredits("budget_exhausted", self._words(resets_at), extra=extra)

    def _words(self, resets_at: datetime) -> str:
        whose = {
            BudgetScope.USER: _("of the user"),
            BudgetScope.PROGRAM: _("of the program"),
            BudgetScope.LANGUAGE_MODEL: _("of the language model"),
            BudgetScope.INSTALLATION: _("of the installation"),
        }
        return _("What is left of the budget %(whose)s does not cover this. It is renewed at %(when)s.") % {
            "whose": whose[self.terms.scope],
            "when": f"{resets_at:%Y-%m-%d %H:%M} UTC",
        }


def read_table(known: Table) -> Table:
    """`known` if it is still true, else what is true now."""
    version = _version()
    return known if version == known.version else Table(version, enabled_terms())


def _version() -> Version:
    told = Budget.history.aggregate(n=Count("history_id"), last=Max("history_id"))
    return told["n"], told["last"] or 0


def enabled_terms() -> Iterator[Terms]:
    """Read from the database."""
    columns = ("id", "scope", "period", "user_id", "program", "language_model__name")
    for id, scope, period, user_id, program, model in Budget.objects.enabled().values_list(*columns):
        yield Terms(id, BudgetScope(scope), BudgetCycle(period), user_id, program, model or "")
