"""Who may read which optimizations and schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.contrib.auth.models import Group
from django.db.models import Q, QuerySet

from executions.querysets import WATCHED_COLUMNS
from mlops.querysets import ScopedQuerySet

if TYPE_CHECKING:
    from mlops.models import User


class OptimizationQuerySet(ScopedQuerySet[Any]):
    program_name = "program__name"

    def _to_engineer(self, viewer: User) -> Self:
        """All, except those of programs limited to a group that the engineer is not in."""
        return self.filter(Q(program__group=None) | Q(program__group__in=viewer.groups.values("pk")))

    def light(self) -> Self:
        """Without what only a detail shows."""
        return self.defer("estimate", "comparison", "token_usage", "params")

    def watched(self) -> Self:
        return self.select_related("program").only(*WATCHED_COLUMNS)


class OptimizationPartQuerySet(ScopedQuerySet[Any]):
    program_name = "optimization__program__name"

    def _to_engineer(self, viewer: User) -> Self:
        groups = viewer.groups.values("pk")
        return self.filter(Q(optimization__program__group=None) | Q(optimization__program__group__in=groups))


class ScheduleQuerySet(ScopedQuerySet[Any]):
    """An ml_user sees none. Engineers see all, except those of programs of which a version is limited to a group that
    they are not in: the arguments may name a label, and what version that is may change with each run."""

    def _to_engineer(self, viewer: User) -> Self:
        strange = Group.objects.filter(programs__isnull=False).exclude(pk__in=viewer.groups.values("pk"))
        return self.exclude(program_name__in=strange.values("programs__name"))

    def _deleted_to_engineer(self, states: QuerySet[Any], viewer: User) -> QuerySet[Any]:
        """Their own: which programs the label of another one meant, its states do not tell."""
        return states.filter(user=viewer)
