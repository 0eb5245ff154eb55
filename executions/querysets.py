"""Who may read which executions, and the chains that services share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db.models import Q
from django.utils import timezone

from executions.types import ExecutionState
from mlops.querysets import OwnedQuerySet, ScopedQuerySet

if TYPE_CHECKING:
    from mlops.models import User

HEAVY_COLUMNS = ("input", "output", "trace", "language_models", "prices")
"""What lists leave out: a page of a hundred rows would otherwise read a hundred traces."""

WATCHED_COLUMNS = ("state", "revision", "program__name", "program__status", "program__group")
"""What those who wait for a row hear of it, and what of its program the right to see it depends on."""


class ExecutionQuerySet(OwnedQuerySet[Any]):
    program_name = "program__name"

    def _to_engineer(self, viewer: User) -> Self:
        """All, except those of programs limited to a group that the engineer is not in; own ones always."""
        in_reach = Q(program__group=None) | Q(program__group__in=viewer.groups.values("pk"))
        return self.filter(in_reach | Q(user=viewer))

    def light(self) -> Self:
        """Without the heavy columns."""
        return self.defer(*HEAVY_COLUMNS)

    def watched(self) -> Self:
        return self.select_related("program").only("user", *WATCHED_COLUMNS)

    def pending(self) -> Self:
        return self.filter(state=ExecutionState.PENDING)

    def abandoned(self) -> Self:
        """Running, but whoever ran them has not renewed the lease."""
        return self.filter(state=ExecutionState.RUNNING, lease_expires_at__lt=timezone.now())


class FeedbackQuerySet(ScopedQuerySet[Any]):
    program_name = "execution__program__name"

    def _to_engineer(self, viewer: User) -> Self:
        in_reach = Q(execution__program__group=None) | Q(execution__program__group__in=viewer.groups.values("pk"))
        return self.filter(in_reach | Q(execution__user=viewer))

    def _to_user(self, viewer: User) -> Self:
        return self.filter(execution__user=viewer)


class MetricQuerySet(ScopedQuerySet[Any]):
    """Engineers see all metrics, an ml_user none."""

    def latest_version(self, name: str) -> Any | None:
        return self.filter(name=name).order_by("-version").first()


class EvaluationQuerySet(ScopedQuerySet[Any]):
    program_name = "program__name"

    def _to_engineer(self, viewer: User) -> Self:
        """All, except those of programs limited to a group that the engineer is not in."""
        return self.filter(Q(program__group=None) | Q(program__group__in=viewer.groups.values("pk")))

    def light(self) -> Self:
        """Without what only a detail shows."""
        return self.defer("estimate", "token_usage")

    def watched(self) -> Self:
        return self.select_related("program").only(*WATCHED_COLUMNS)


class EvaluationPartQuerySet(ScopedQuerySet[Any]):
    program_name = "evaluation__program__name"

    def _to_engineer(self, viewer: User) -> Self:
        in_reach = Q(evaluation__program__group=None) | Q(evaluation__program__group__in=viewer.groups.values("pk"))
        return self.filter(in_reach)


class UsageQuerySet(OwnedQuerySet[Any]):
    """An ml_user sees only what is theirs, not what is everybody's."""

    program_name = "program__name"

    def _to_engineer(self, viewer: User) -> Self:
        """Of all programs, except those limited to a group that the engineer is not in; their own always."""
        in_reach = Q(program__group=None) | Q(program__group__in=viewer.groups.values("pk"))
        return self.filter(in_reach | Q(user=viewer))

    def of_everybody(self) -> Self:
        return self.filter(user=None)

    def of_each_user(self) -> Self:
        return self.exclude(user=None)

    def of_all_models(self) -> Self:
        return self.filter(language_model="")

    def of_each_model(self) -> Self:
        return self.exclude(language_model="")


class RepricingQuerySet(ScopedQuerySet[Any]):
    """Engineers see all repricings, an ml_user none."""


class RepricingPartQuerySet(ScopedQuerySet[Any]):
    """As the repricings themselves."""


class CostCorrectionQuerySet(ScopedQuerySet[Any]):
    """As the executions that were corrected, but for engineers only."""

    program_name = "execution__program__name"

    def _to_engineer(self, viewer: User) -> Self:
        in_reach = Q(execution__program__group=None) | Q(execution__program__group__in=viewer.groups.values("pk"))
        return self.filter(in_reach | Q(execution__user=viewer))
