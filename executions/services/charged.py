"""Whether something was charged for a language model."""

from __future__ import annotations

from typing import Any

from executions.models import UsageDay
from executions.models.usage import OF_EVERYBODY
from executions.services.usage.contributions import sources
from executions.types import ExecutionState
from mlops.models import LanguageModel


def was_charged(model: LanguageModel) -> bool:
    """Whether something that ended used `model`, or something is running, which may.

    The usage of days knows: its rows are few, however many executions there are. What has ended and is not yet counted,
    which is that of some seconds, is looked through.
    """
    if UsageDay.objects.filter(OF_EVERYBODY, language_model=model.name).exists():
        return True
    return any(_may_use(source.model._default_manager.all(), model.name) for source in sources())


def _may_use(rows: Any, name: str) -> bool:
    uncounted = rows.filter(finished_at__isnull=False, is_counted=False)
    is_used: bool = (
        rows.filter(state=ExecutionState.RUNNING).exists()
        or uncounted.filter(token_usage__by_model__has_key=name).exists()
    )
    return is_used
