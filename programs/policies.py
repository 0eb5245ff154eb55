"""Who may do what with programs and what they consist of."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from mlops.errors import NotFound
from mlops.policies import Policy, Rule, admins, any_of, engineers, everybody
from mlops.querysets import Viewer
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
        if row is not None and not self.can(actor, "view", row):
            raise NotFound(f"{self.name}_not_found", _("There is no such row."))
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
)


def as_program(action: str) -> Rule:
    """What holds for the program holds for the rows that belong to it."""
    return lambda actor, row: program_policy.can(actor, action, None if row is None else row.program)


def _of_parts(name: str) -> Policy:
    return VisiblePolicy(
        name,
        {
            "view": as_program("view"),
            "create": engineers,
            "change": as_program("change"),
            "delete": as_program("change"),
        },
    )


module_policy = _of_parts("module")
connection_policy = _of_parts("connection")
prompt_set_policy = VisiblePolicy("prompt_set", {"view": as_program("view")})
deployment_policy = VisiblePolicy("deployment", {"view": as_program("view")})

prompt_version_policy = VisiblePolicy(
    "prompt_version",
    {
        "view": lambda actor, row: program_policy.can(actor, "view", None if row is None else row.module.program),
        "create": engineers,
        "activate": lambda actor, row: program_policy.can(actor, "change", None if row is None else row.module.program),
    },
)

# Signatures may be shared between programs; which of them an ml_user sees is the queryset's answer (`visible_to`).
signature_policy = Policy(
    "signature",
    {
        "view": everybody,
        "create": engineers,
        "change": engineers,
        "new_version": engineers,
        "delete": engineers,
    },
)
