"""Who may read which rows of this app: `visible_to` is the only place that knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import Q
from django.utils import timezone

from mlops.grants import grant_of, programs_of_grant, token_scope_missing
from mlops.types import Role, Scope

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
    """A queryset that shows everything to admins and engineers and `_to_user` to an ml_user.

    `visible_to` is what a viewer may read. `known_to` is what there is for them: it is asked by whoever looks a row up
    to do something to it, for which the policy then demands the scope.
    """

    program_name: ClassVar[str] = ""
    """The lookup that leads to the name of the program that a row belongs to. Without one, a token that is restricted
    to programs shows nothing."""

    def visible_to(self, viewer: Viewer) -> Self:
        """Raises `Forbidden` (`token_scope_missing`) for a token that may not read."""
        grant = grant_of(viewer)
        if grant is not None and Scope.READ not in grant.scopes:
            raise token_scope_missing(Scope.READ)
        return self.known_to(viewer)

    def known_to(self, viewer: Viewer) -> Self:
        role = role_of(viewer)
        if role is None:
            return self.none()
        programs = programs_of_grant(viewer)
        rows = self._of_programs(viewer, programs) if programs else self
        if role is Role.ML_USER:
            return rows._to_user(viewer)
        return rows._to_engineer(viewer) if role is Role.ML_ENGINEER else rows

    def watched(self) -> Self:
        """What those who wait for a row hear of it, with whatever the right to see it depends on."""
        return self.only("state", "revision")

    def deletions_known_to(self, viewer: Viewer) -> models.QuerySet[Any]:
        """The last states of rows that have been deleted, for the histories of which only admins and engineers have the
        right, and no token that is restricted to programs."""
        states: models.QuerySet[Any] = self.model.history.filter(history_type="-")  # type: ignore[attr-defined]
        role = role_of(viewer)
        if role not in (Role.ADMIN, Role.ML_ENGINEER) or programs_of_grant(viewer):
            return states.none()
        return states if role is Role.ADMIN else self._deleted_to_engineer(states, viewer)

    def _of_programs(self, viewer: Any, programs: frozenset[str]) -> Self:
        return self.filter(**{f"{self.program_name}__in": programs}) if self.program_name else self.none()

    def _to_engineer(self, viewer: Any) -> Self:
        return self

    def _to_user(self, viewer: Any) -> Self:
        return self.none()

    def _deleted_to_engineer(self, states: models.QuerySet[Any], viewer: Any) -> models.QuerySet[Any]:
        return states


class UserQuerySet(ScopedQuerySet["User"]):
    def _of_programs(self, viewer: User, programs: frozenset[str]) -> Self:
        return self.filter(pk=viewer.pk)

    def _to_engineer(self, viewer: User) -> Self:
        return self.filter(pk=viewer.pk)

    def _to_user(self, viewer: User) -> Self:
        return self.filter(pk=viewer.pk)

    def _deleted_to_engineer(self, states: models.QuerySet[Any], viewer: User) -> models.QuerySet[Any]:
        return states.none()


class OwnedQuerySet(ScopedQuerySet[M_co]):
    """Rows with a `user`: people other than admins see their own."""

    def _of_programs(self, viewer: User, programs: frozenset[str]) -> Self:
        """Of rows that belong to no program, such as lines of the ledger, one's own are left."""
        return super()._of_programs(viewer, programs) if self.program_name else self.filter(user=viewer)

    def _to_engineer(self, viewer: User) -> Self:
        return self.filter(user=viewer)

    def _to_user(self, viewer: User) -> Self:
        return self.filter(user=viewer)


class ApiTokenQuerySet(OwnedQuerySet[Any]):
    def _of_programs(self, viewer: User, programs: frozenset[str]) -> Self:
        """A token that is restricted to programs knows itself alone."""
        return self.filter(pk=viewer.grant.token) if viewer.grant else self.none()

    def usable(self) -> Self:
        now = timezone.now()
        return self.filter(revoked_at=None, user__is_active=True).filter(Q(expires_at=None) | Q(expires_at__gt=now))


class IdempotencyQuerySet(models.QuerySet[Any]):
    def live(self) -> Self:
        """Keys that stand for their request still."""
        return self.filter(expires_at__gt=timezone.now())

    def expired(self) -> Self:
        """Keys that may be spent again."""
        return self.filter(expires_at__lte=timezone.now())


class LanguageModelQuerySet(ScopedQuerySet[Any]):
    def enabled(self) -> Self:
        return self.filter(is_enabled=True)


class ModelPriceQuerySet(ScopedQuerySet[Any]):
    pass


class BudgetQuerySet(ScopedQuerySet[Any]):
    """Engineers see all budgets, an ml_user those on their own spending."""

    program_name = "program"

    def enabled(self) -> Self:
        return self.filter(is_enabled=True)

    def _to_user(self, viewer: User) -> Self:
        return self.filter(user=viewer)


class BudgetPartQuerySet(ScopedQuerySet[Any]):
    program_name = "budget__program"

    def _to_user(self, viewer: User) -> Self:
        return self.filter(budget__user=viewer)
