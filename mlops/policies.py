"""Who may do what: one table per kind of row, from action to rule.

Services ask with `check`, buttons and forms with `can`; the adapters of the edges hold no rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from django.utils.translation import gettext as _

from mlops.errors import Forbidden
from mlops.querysets import Viewer, role_of
from mlops.types import Role

Rule: TypeAlias = Callable[[Viewer, Any], bool]


def admins(actor: Viewer, row: Any) -> bool:
    return role_of(actor) is Role.ADMIN


def engineers(actor: Viewer, row: Any) -> bool:
    """Admins and ML engineers."""
    return role_of(actor) in (Role.ADMIN, Role.ML_ENGINEER)


def everybody(actor: Viewer, row: Any) -> bool:
    """Whoever is logged in."""
    return role_of(actor) is not None


def owner(actor: Viewer, row: Any) -> bool:
    """Whose row it is; without a row, whoever is logged in and would become its owner."""
    return everybody(actor, row) and (row is None or row.user_id == actor.pk)


def any_of(*rules: Rule) -> Rule:
    return lambda actor, row: any(rule(actor, row) for rule in rules)


class Policy:
    """A table from action to rule for one kind of row."""

    def __init__(self, name: str, rules: Mapping[str, Rule]) -> None:
        self.name = name
        self.rules = dict(rules)

    def can(self, actor: Viewer, action: str, row: Any = None) -> bool:
        """Whether `actor` may. An action without a rule is a mistake of ours and raises `KeyError`."""
        return self.rules[action](actor, row)

    def check(self, actor: Viewer, action: str, row: Any = None) -> None:
        """Raise `Forbidden` (code `<name>_<action>_forbidden`) unless `actor` may."""
        if not self.can(actor, action, row):
            raise Forbidden(f"{self.name}_{action}_forbidden", _("You are not allowed to do this."))


def itself(actor: Viewer, row: Any) -> bool:
    """Who the row is; without a row, whoever is logged in and would find themselves."""
    return everybody(actor, row) and (row is None or row.pk == actor.pk)


user_policy = Policy(
    "user",
    {
        "view": any_of(admins, itself),
        "create": admins,
        "change": admins,
        "deactivate": admins,
        "grant_credits": admins,
        "refund_credits": admins,
    },
)

token_policy = Policy(
    "token",
    {
        "view": any_of(admins, owner),
        "create": owner,
        "revoke": any_of(admins, owner),
    },
)

group_policy = Policy("group", {"view": engineers, "create": admins, "change": admins, "delete": admins})

credit_policy = Policy("credit", {"view": any_of(admins, owner)})

language_model_policy = Policy(
    "language_model",
    {
        "view": engineers,
        "create": admins,
        "change": admins,
        "set_secret": admins,
        "set_default": admins,
        "delete": admins,
        "add_price": admins,
    },
)
