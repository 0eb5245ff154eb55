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


class ExecutionQuerySet(OwnedQuerySet[Any]):
    def _to_engineer(self, viewer: User) -> Self:
        """All, except those of programs limited to a group that the engineer is not in; own ones always."""
        in_reach = Q(program__group=None) | Q(program__group__in=viewer.groups.values("pk"))
        return self.filter(in_reach | Q(user=viewer))

    def light(self) -> Self:
        """Without the heavy columns."""
        return self.defer(*HEAVY_COLUMNS)

    def pending(self) -> Self:
        return self.filter(state=ExecutionState.PENDING)

    def abandoned(self) -> Self:
        """Running, but whoever ran them has not renewed the lease."""
        return self.filter(state=ExecutionState.RUNNING, lease_expires_at__lt=timezone.now())


class FeedbackQuerySet(ScopedQuerySet[Any]):
    def _to_engineer(self, viewer: User) -> Self:
        in_reach = Q(execution__program__group=None) | Q(execution__program__group__in=viewer.groups.values("pk"))
        return self.filter(in_reach | Q(execution__user=viewer))

    def _to_user(self, viewer: User) -> Self:
        return self.filter(execution__user=viewer)
