"""Rows of the foundation: people, tokens, the credit ledger, language models and their prices."""

from mlops.models.accounts import ApiToken, User
from mlops.models.base import Record
from mlops.models.budgets import Budget, BudgetPeriod, BudgetSlice
from mlops.models.credits import CreditEntry, ReservationSweep
from mlops.models.idempotency import IdempotencyRecord
from mlops.models.jobs import Job, Work
from mlops.models.language_models import Fallback, LanguageModel, ModelPrice

__all__ = [
    "ApiToken",
    "Budget",
    "BudgetPeriod",
    "BudgetSlice",
    "CreditEntry",
    "Fallback",
    "IdempotencyRecord",
    "Job",
    "LanguageModel",
    "ModelPrice",
    "Record",
    "ReservationSweep",
    "User",
    "Work",
]
