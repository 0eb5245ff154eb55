"""Who may read which rows of this app: `visible_to` is the only place that knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import Q
from django.utils import timezone

from mlops.types import Role

if TYPE_CHECKING:
    from mlops.models import User

Viewer: TypeAlias = "User | AnonymousUser"
M_co = TypeVar("M_co", bound=models.Model, covariant=True)


def role_of(viewer: Viewer) -> Role | None:
    """The role that counts: none for anonymous and deactivated people."""
    if isinstance(viewer, AnonymousUser) or not viewer.is_active:
        return None
    return Role(viewer.role)


class ScopedQuerySet(models.QuerySet[M_co]):
    """A queryset whose `visible_to` shows everything to admins and engineers and `_to_user` to an ml_user."""

    def visible_to(self, viewer: Viewer) -> Self:
        role = role_of(viewer)
        if role is None:
            return self.none()
        if role is Role.ML_USER:
            return self._to_user(viewer)
        return self._to_engineer(viewer) if role is Role.ML_ENGINEER else self

    def _to_engineer(self, viewer: Any) -> Self:
        return self

    def _to_user(self, viewer: Any) -> Self:
        return self.none()


class UserQuerySet(ScopedQuerySet["User"]):
    def _to_engineer(self, viewer: User) -> Self:
        return self.filter(pk=viewer.pk)

    def _to_user(self, viewer: User) -> Self:
        return self.filter(pk=viewer.pk)


class OwnedQuerySet(ScopedQuerySet[M_co]):
    """Rows with a `user`: people other than admins see their own."""

    def _to_engineer(self, viewer: User) -> Self:
        return self.filter(user=viewer)

    def _to_user(self, viewer: User) -> Self:
        return self.filter(user=viewer)


class ApiTokenQuerySet(OwnedQuerySet[Any]):
    def usable(self) -> Self:
        now = timezone.now()
        return self.filter(revoked_at=None, user__is_active=True).filter(Q(expires_at=None) | Q(expires_at__gt=now))


class LanguageModelQuerySet(ScopedQuerySet[Any]):
    def enabled(self) -> Self:
        return self.filter(is_enabled=True)


class ModelPriceQuerySet(ScopedQuerySet[Any]):
    pass
