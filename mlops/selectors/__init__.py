"""Reads of the foundation that cross models, and lookups in the scope of an actor."""

from mlops.selectors.balances import (
    proven_balance,
    unproven_balances,
)
from mlops.selectors.language_models import (
    default_language_model,
    enabled_language_model,
    fallback_chain,
    forget_language_models,
    language_model_spec,
    price_at,
)
from mlops.selectors.rows import (
    access,
    code_name,
    not_found,
)

__all__ = [
    "access",
    "code_name",
    "default_language_model",
    "enabled_language_model",
    "fallback_chain",
    "forget_language_models",
    "language_model_spec",
    "not_found",
    "price_at",
    "proven_balance",
    "unproven_balances",
]
