"""What evaluations have found, noted on the program version and on its prompts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from mlops.models import User
from mlops.services.locking import locked
from programs.models import Program, PromptSet, PromptVersion

Scores = Mapping[str, Mapping[str, Any]]
"""Per metric, as `name@version`: `mean`, `low` and `high` of its interval, `n`, `evaluation` and `at`, an ISO time."""


def record_scores(*, actor: User, program: Program, prompt_set: PromptSet, dataset: str, scores: Scores) -> None:
    """Note the latest scores of `program` with `prompt_set` on `dataset`, such as `support_messages/test@1`.

    They stand in `Program.metrics`, and in `PromptVersion.performance_metrics` of every prompt of the set, as
    `{dataset: {metric: score}}`. Of two evaluations the one with the later `at` stands, whichever is noted last.
    `actor` is asked for no right and stands in no history: whoever evaluates was checked when the evaluation began, and
    that is the record. Raises `NotFound` when the program has gone.
    """
    with transaction.atomic():
        current = locked(program)
        current.metrics = _with_newer(current.metrics, dataset, scores)
        _keep(Program, current, "metrics")
        for version in prompt_set.versions.order_by("id").select_for_update(of=("self",)):
            version.performance_metrics = _with_newer(version.performance_metrics, dataset, scores)
            _keep(PromptVersion, version, "performance_metrics")


def _with_newer(known: Mapping[str, Any], dataset: str, scores: Scores) -> dict[str, Any]:
    of_dataset = dict(known.get(dataset, {}))
    for metric, score in scores.items():
        if metric not in of_dataset or _time_of(of_dataset[metric]) <= _time_of(score):
            of_dataset[metric] = dict(score)
    return {**known, dataset: of_dataset}


def _time_of(score: Mapping[str, Any]) -> datetime:
    at = datetime.fromisoformat(score["at"])
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _keep(model: Any, row: Any, column: str) -> None:
    """Past `save`, which would write history, and without `updated_at`, which says when the content changed."""
    model._base_manager.filter(pk=row.pk).update(**{column: getattr(row, column)})
