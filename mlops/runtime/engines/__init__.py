"""Language models as DSPy uses them, with this house's retries, fallbacks, limits and accounts around every call."""

from mlops.runtime.engines.engine import AsyncMeteredEngine, MeteredEngine
from mlops.runtime.engines.failures import ModelRefused, failure_of
from mlops.runtime.engines.models import aclose_language_models, close_language_models, language_model

__all__ = [
    "AsyncMeteredEngine",
    "MeteredEngine",
    "ModelRefused",
    "aclose_language_models",
    "close_language_models",
    "failure_of",
    "language_model",
]
