"""The admin site of the foundation, and the base that every app's admin stands on."""

from mlops.admin import accounts, budgets, language_models, lockouts

__all__ = ["accounts", "budgets", "language_models", "lockouts"]
