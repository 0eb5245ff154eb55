"""Who may do what with programs and what they consist of."""

from __future__ import annotations

from typing import Any

from mlops.grants import programs_of_grant
from mlops.policies import Policy, Rule, admins, any_of, engineers, everybody, of_programs
from mlops.querysets import Viewer
from mlops.types import Scope
from programs.models import Signature
from programs.types import ProgramStatus


def insiders(actor: Viewer, row: Any) -> bool:
    """Whom the program's group lets know of it: its members and admins, everybody where there is no group."""
    if row is None or row.group_id is None or admins(actor, row):
        return everybody(actor, row)
    return everybody(actor, row) and actor.groups.filter(pk=row.group_id).exists()


def inside_engineers(actor: Viewer, row: Any) -> bool:
    return engineers(actor, row) and insiders(actor, row)


def production_users(actor: Viewer, row: Any) -> bool:
    """Anybody inside, as long as the program is in production; without a row, whoever might find such a program."""
    return insiders(actor, row) and (row is None or row.status == ProgramStatus.PRODUCTION)


def users_of_a_tool(actor: Viewer, row: Any) -> bool:
    """Anybody inside may have a program that was in production called by another one that pins it: that a newer version
    has replaced it does not change what was deployed with it."""
    return insiders(actor, row) and (row is None or row.status in (ProgramStatus.PRODUCTION, ProgramStatus.ARCHIVED))


class VisiblePolicy(Policy):
    """A policy under which a row that the actor may not view does not exist for them, whatever they ask to do."""

    def check(self, actor: Viewer, action: str, row: Any = None) -> None:
        """Raise `NotFound` (`<name>_not_found`) for what may not be viewed, else as `Policy.check`."""
        if row is not None and not self.sees(actor, row):
            raise self.not_found()
        super().check(actor, action, row)


program_policy = VisiblePolicy(
    "program",
    {
        "view": any_of(inside_engineers, production_users),
        "create": engineers,
        "change": inside_engineers,
        "new_version": inside_engineers,
        "validate": inside_engineers,
        "submit": inside_engineers,
        "deploy": inside_engineers,
        "archive": inside_engineers,
        "roll_back": inside_engineers,
        "delete": inside_engineers,
        "execute": any_of(inside_engineers, production_users),
        "execute_as_tool": any_of(inside_engineers, users_of_a_tool),
    },
    scopes={"execute": Scope.EXECUTE, "execute_as_tool": Scope.EXECUTE},
    reach=of_programs(lambda program: program.name),
)


def as_program(action: str) -> Rule:
    """What holds for the program holds for the rows that belong to it."""
    return lambda actor, row: program_policy.rules[action](actor, None if row is None else row.program)


of_its_program = of_programs(lambda row: row.program.name)


def _of_parts(name: str) -> Policy:
    return VisiblePolicy(
        name,
        {
            "view": as_program("view"),
            "create": engineers,
            "change": as_program("change"),
            "delete": as_program("change"),
        },
        reach=of_its_program,
    )


module_policy = _of_parts("module")
connection_policy = _of_parts("connection")
prompt_set_policy = VisiblePolicy("prompt_set", {"view": as_program("view")}, reach=of_its_program)
deployment_policy = VisiblePolicy("deployment", {"view": as_program("view")}, reach=of_its_program)

prompt_version_policy = VisiblePolicy(
    "prompt_version",
    {
        "view": lambda actor, row: module_policy.rules["view"](actor, None if row is None else row.module),
        "create": engineers,
        "activate": lambda actor, row: module_policy.rules["change"](actor, None if row is None else row.module),
    },
    reach=of_programs(lambda row: row.module.program.name),
)


def used_by_programs(actor: Viewer, row: Any) -> bool:
    """Signatures that a program of the actor's token uses."""
    return row is None or row.modules.filter(program__name__in=programs_of_grant(actor)).exists()


def engineers_in_sight(actor: Viewer, row: Any) -> bool:
    """Engineers, unless only programs use the signature that they may not know of."""
    if row is None or not engineers(actor, row) or admins(actor, row):
        return engineers(actor, row)
    hidden = Signature.objects.filter(pk=row.pk).exclude(pk__in=Signature.objects.known_to(actor).values("pk"))
    return not hidden.exists()


# Signatures may be shared between programs; which of them an ml_user sees is the queryset's answer (`visible_to`). A
# token that is restricted to programs changes none, since that might change another program.
signature_policy = Policy(
    "signature",
    {
        "view": everybody,
        "create": engineers,
        "change": engineers_in_sight,
        "new_version": engineers_in_sight,
        "delete": engineers_in_sight,
    },
    sight=used_by_programs,
)
