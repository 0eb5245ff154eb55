"""Who may do what: one table per kind of row, from action to rule.

Services ask with `check`, buttons and forms with `can`; the adapters of the edges hold no rules of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from django.utils.translation import gettext as _

from mlops.errors import Forbidden, NotFound
from mlops.grants import grant_of, programs_of_grant, token_restricted, token_scope_missing
from mlops.querysets import Viewer, role_of
from mlops.types import Role, Scope

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


def nothing(actor: Viewer, row: Any) -> bool:
    return False


def of_programs(name_of: Callable[[Any], str]) -> Rule:
    """Rows that belong to one of the programs of the actor's token; without a row, whoever might find such."""
    return lambda actor, row: row is None or name_of(row) in programs_of_grant(actor)


class Policy:
    """A table from action to rule for one kind of row, and what of it a token is good for.

    The scope that an action needs follows from its rule: `read` to view, `admin` for what is the admins' alone, else
    `engineer`; `scopes` names the exceptions. `reach` says on which rows a token may act that is restricted to some
    programs, `sight` which it may view, where that is more. Both are none unless the rows belong to programs.
    """

    def __init__(
        self,
        name: str,
        rules: Mapping[str, Rule],
        *,
        scopes: Mapping[str, Scope] | None = None,
        reach: Rule = nothing,
        sight: Rule | None = None,
    ) -> None:
        self.name = name
        self.rules = dict(rules)
        self.scopes = {action: _scope_of(action, rule) for action, rule in rules.items()} | dict(scopes or {})
        self.reach = reach
        self.sight = sight or reach

    def can(self, actor: Viewer, action: str, row: Any = None) -> bool:
        """Whether `actor` may, and may by the token they came with.

        An action without a rule is a mistake of ours and raises `KeyError`.
        """
        if not self.rules[action](actor, row):
            return False
        grant = grant_of(actor)
        return grant is None or (self.scopes[action] in grant.scopes and self.reaches(actor, action, row))

    def sees(self, actor: Viewer, row: Any) -> bool:
        """Whether there is such a row for `actor`: what they may do to it, and by which scope, is another question."""
        return self.rules["view"](actor, row) and self.reaches(actor, "view", row)

    def check(self, actor: Viewer, action: str, row: Any = None) -> None:
        """Raise `Forbidden` (code `<name>_<action>_forbidden`) unless `actor` may.

        Where it is the token that does not allow it, `Forbidden` (`token_scope_missing`, `token_restricted`), and
        `NotFound` (`<name>_not_found`) for a row beyond its programs.
        """
        if self.can(actor, action, row):
            return
        if not self.rules[action](actor, row):
            raise Forbidden(f"{self.name}_{action}_forbidden", _("You are not allowed to do this."))
        if row is not None and not row._state.adding and not self.reaches(actor, "view", row):
            raise self.not_found()
        if not self.reaches(actor, action, row):
            raise token_restricted()
        raise token_scope_missing(self.scopes[action])

    def not_found(self) -> NotFound:
        return NotFound(
            f"{self.name}_not_found", _("There is no such %(kind)s.") % {"kind": self.name.replace("_", " ")}
        )

    def reaches(self, actor: Viewer, action: str, row: Any) -> bool:
        """Whether the programs of the actor's token, if it is restricted to any, leave them this."""
        reach = self.sight if action == "view" else self.reach
        return not programs_of_grant(actor) or reach(actor, row)


def _scope_of(action: str, rule: Rule) -> Scope:
    if action == "view":
        return Scope.READ
    return Scope.ADMIN if rule is admins else Scope.ENGINEER


def itself(actor: Viewer, row: Any) -> bool:
    """Who the row is; without a row, whoever is logged in and would find themselves."""
    return everybody(actor, row) and (row is None or row.pk == actor.pk)


user_policy = Policy(
    "user",
    {
        "view": any_of(admins, itself),
        "create": admins,
        "change": admins,
        "change_own_password": itself,
        "deactivate": admins,
        "grant_credits": admins,
        "refund_credits": admins,
        "repair_balance": admins,
    },
    scopes={"change_own_password": Scope.ADMIN},
    sight=itself,
)


def own_token(actor: Viewer, row: Any) -> bool:
    """The token that the actor came with, and one that is about to be made."""
    grant = grant_of(actor)
    return row is None or row._state.adding or (grant is not None and row.pk == grant.token)


token_policy = Policy(
    "token",
    {
        "view": any_of(admins, owner),
        "create": owner,
        "rotate": owner,
        "revoke": any_of(admins, owner),
    },
    scopes={"create": Scope.ADMIN, "rotate": Scope.ADMIN, "revoke": Scope.ADMIN},
    reach=own_token,
)

group_policy = Policy("group", {"view": engineers, "create": admins, "change": admins, "delete": admins})

lockout_policy = Policy("lockout", {"view": admins, "unlock": admins})

credit_policy = Policy("credit", {"view": any_of(admins, owner)}, sight=owner)

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
        "delete_price": admins,
        "import_prices": admins,
    },
)

budget_policy = Policy(
    "budget",
    {"view": any_of(engineers, owner), "create": admins, "change": admins, "delete": admins},
    sight=of_programs(lambda budget: str(budget.program)),
)

history_policy = Policy("history", {"view": engineers, "revert": engineers})
"""Asked after the right to view the record; what a revert changes is checked once more by the verb that changes it."""
