"""The admin site of the foundation, and the base that every app's admin stands on."""

from mlops.admin import accounts, language_models

__all__ = ["accounts", "language_models"]
