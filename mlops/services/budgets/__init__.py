"""Budgets: how they are set, and how processes spend of them without asking for each cost."""

from mlops.services.budgets.direct import budgeted
from mlops.services.budgets.keeper import BudgetKeeper, Hold, Spent
from mlops.services.budgets.slices import sweep_slices
from mlops.services.budgets.telling import tell_of_budgets
from mlops.services.budgets.terms import Charged, Exhausted
from mlops.services.budgets.verbs import create_budget, delete_budget, update_budget

__all__ = [
    "BudgetKeeper",
    "Charged",
    "Exhausted",
    "Hold",
    "Spent",
    "budgeted",
    "create_budget",
    "delete_budget",
    "sweep_slices",
    "tell_of_budgets",
    "update_budget",
]
