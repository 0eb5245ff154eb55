"""Rows of the foundation: people, tokens, the credit ledger, language models and their prices."""

from mlops.models.accounts import ApiToken, User
from mlops.models.base import Record
from mlops.models.credits import CreditEntry
from mlops.models.idempotency import IdempotencyRecord
from mlops.models.language_models import Fallback, LanguageModel, ModelPrice

__all__ = [
    "ApiToken",
    "CreditEntry",
    "Fallback",
    "IdempotencyRecord",
    "LanguageModel",
    "ModelPrice",
    "Record",
    "User",
]
