"""What a reference such as `accuracy@2` means, and metrics as the runtime takes them."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from executions.errors import metric_not_found
from executions.models import Metric
from executions.policies import metric_policy
from executions.runtime.metrics import MetricSpec
from executions.types import MetricKind
from mlops.querysets import Viewer

LARGEST_VERSION = 2**31 - 1
_REFERENCE = re.compile(r"([a-z][a-z0-9_-]{0,62})(?:@([1-9][0-9]{0,9}|latest))?", re.ASCII)


def access_metric(*, actor: Viewer, ref: str | UUID, action: str | None = "view") -> Metric:
    """The metric that `ref` names, if `actor` may do `action` to it (None: whoever asks will ask that).

    `ref` is a UUID, `name` or `name@latest` (its newest version), or `name@2`.
    Raises `NotFound` (`metric_not_found`) for what is missing and for what they may not see alike, and `Forbidden`.
    """
    metric: Metric | None = _named(ref).filter(pk__in=Metric.objects.known_to(actor).values("pk")).first()
    if metric is None:
        raise metric_not_found()
    if action is not None:
        metric_policy.check(actor, action, metric)
    return metric


def metric_spec(metric: Metric) -> MetricSpec:
    """The metric as the runtime takes it."""
    return MetricSpec(
        name=metric.name,
        kind=MetricKind(metric.kind),
        config=metric.config,
        version=metric.version,
        judge=str(metric.judge_program) if metric.judge_program else "",
        language_model=metric.language_model.name if metric.language_model else "",
    )


def _named(ref: str | UUID) -> QuerySet[Any]:
    rows = Metric.objects.select_related("judge_program", "language_model").order_by("-version")
    try:
        return rows.filter(pk=ref if isinstance(ref, UUID) else UUID(ref))
    except ValueError:
        parts = _REFERENCE.fullmatch(str(ref))
    if parts is None or (parts[2] not in (None, "latest") and int(parts[2]) > LARGEST_VERSION):
        raise metric_not_found()
    named = rows.filter(name=parts[1])
    return named if parts[2] in (None, "latest") else named.filter(version=int(parts[2]))
