"""Who may read which programs, and the chains that services and selectors share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db.models import Q, QuerySet

from mlops.querysets import ScopedQuerySet
from programs.types import ProgramStatus

if TYPE_CHECKING:
    from mlops.models import User


def _of_groups(user: User, prefix: str = "") -> Q:
    return Q(**{f"{prefix}group": None}) | Q(**{f"{prefix}group__in": user.groups.values("pk")})


def _of_parents(name: str, model: Any, viewer: User) -> Q:
    """Of states of `model`: those whose `name` the viewer knows of, be it there or deleted itself."""
    parents = model._meta.get_field(name).related_model.objects
    there, deleted = parents.known_to(viewer).values("pk"), parents.deletions_known_to(viewer).values("id")
    return Q(**{f"{name}_id__in": there}) | Q(**{f"{name}_id__in": deleted})


class ProgramQuerySet(ScopedQuerySet[Any]):
    """A program limited to a group is seen by the group's members, and by admins."""

    program_name = "name"

    def _to_engineer(self, viewer: User) -> Self:
        return self.filter(_of_groups(viewer))

    def _to_user(self, viewer: User) -> Self:
        return self.filter(_of_groups(viewer), status=ProgramStatus.PRODUCTION)

    def _deleted_to_engineer(self, states: QuerySet[Any], viewer: User) -> QuerySet[Any]:
        return states.filter(_of_groups(viewer))

    def in_production(self) -> Self:
        return self.filter(status=ProgramStatus.PRODUCTION)


class ProgramPartQuerySet(ScopedQuerySet[Any]):
    """Rows that belong to one program (modules, connections, prompt sets, deployments) share its visibility."""

    program_name = "program__name"

    def _to_engineer(self, viewer: User) -> Self:
        return self.filter(_of_groups(viewer, "program__"))

    def _to_user(self, viewer: User) -> Self:
        return self.filter(_of_groups(viewer, "program__"), program__status=ProgramStatus.PRODUCTION)

    def _deleted_to_engineer(self, states: QuerySet[Any], viewer: User) -> QuerySet[Any]:
        return states.filter(_of_parents("program", self.model, viewer))


class PromptVersionQuerySet(ScopedQuerySet[Any]):
    program_name = "module__program__name"

    def _to_engineer(self, viewer: User) -> Self:
        return self.filter(_of_groups(viewer, "module__program__"))

    def _to_user(self, viewer: User) -> Self:
        return self.filter(_of_groups(viewer, "module__program__"), module__program__status=ProgramStatus.PRODUCTION)

    def _deleted_to_engineer(self, states: QuerySet[Any], viewer: User) -> QuerySet[Any]:
        return states.filter(_of_parents("module", self.model, viewer))


class DemoQuerySet(ScopedQuerySet[Any]):
    """Seen with their prompt version."""

    program_name = "prompt_version__module__program__name"

    def _to_engineer(self, viewer: User) -> Self:
        return self.filter(_of_groups(viewer, "prompt_version__module__program__"))

    def _to_user(self, viewer: User) -> Self:
        in_production = Q(prompt_version__module__program__status=ProgramStatus.PRODUCTION)
        return self.filter(in_production, _of_groups(viewer, "prompt_version__module__program__"))


class SignatureQuerySet(ScopedQuerySet[Any]):
    """Signatures may be shared between programs: an ml_user sees those that a visible program uses, an engineer also
    those that no program uses."""

    def _of_programs(self, viewer: User, programs: frozenset[str]) -> Self:
        return self.filter(pk__in=self.filter(modules__program__name__in=programs).values("pk"))

    def _to_engineer(self, viewer: User) -> Self:
        in_reach = self.filter(_of_groups(viewer, "modules__program__"))  # without a program there is no group either
        return self.filter(pk__in=in_reach.values("pk"))

    def _to_user(self, viewer: User) -> Self:
        used = self.filter(_of_groups(viewer, "modules__program__"), modules__program__status=ProgramStatus.PRODUCTION)
        return self.filter(pk__in=used.values("pk"))
