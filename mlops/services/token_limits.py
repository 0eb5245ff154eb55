"""What a token may be limited to, checked before it is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.errors import Forbidden, Invalid
from mlops.models import ApiToken, User
from mlops.sanitiser import refuse_unstorable
from mlops.types import Scope

MAX_NAME = 100
MAX_PROGRAMS = 100
MAX_RATE_LIMIT = 100_000
"""Requests per minute; the times of that many requests are kept for each limit."""

MAX_OVERLAP = timedelta(days=30)

KnownPrograms: TypeAlias = Callable[[User, Collection[str]], Collection[str]]
"""Those of the names that are names of programs which the user may know of."""

_finders: list[KnownPrograms] = []


def know_programs_by(find: KnownPrograms) -> None:
    """Have names of programs looked up by `find`: programs belong to a higher app."""
    _finders.append(find)


def checked_name(name: str) -> str:
    """Raises `Invalid` (`token_name_missing`, `token_name_too_long`)."""
    refuse_unstorable(name, "name")
    stripped = name.strip()
    if not stripped:
        raise Invalid("token_name_missing", _("A token needs a name."), field="name")
    if len(stripped) > MAX_NAME:
        raise Invalid("token_name_too_long", _("A token's name has at most 100 characters."), field="name")
    return stripped


def checked_expiry(expires_at: datetime | None) -> datetime | None:
    """Raises `Invalid` (`token_already_expired`)."""
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("token_already_expired", _("The expiry lies in the past."), field="expires_at")
    return expires_at


def checked_scopes(scopes: Sequence[str]) -> list[str]:
    """The scopes, each once, in the order of `Scope`. Raises `Invalid` (`token_scope_unknown`, `token_useless`)."""
    known = [scope.value for scope in Scope]
    for position, scope in enumerate(scopes):
        if scope not in known:
            message = _("A scope is one of %(known)s.") % {"known": ", ".join(known)}
            raise Invalid("token_scope_unknown", message, field=f"scopes.{position}")
    if not scopes:
        raise Invalid("token_useless", _("A token needs at least one scope."), field="scopes")
    return [scope for scope in known if scope in scopes]


def checked_programs(actor: User, names: Sequence[str]) -> list[str]:
    """The names, each once. Raises `Invalid` (`token_program_unknown`, `token_programs_too_many`)."""
    if len(names) > MAX_PROGRAMS:
        message = _("A token names at most %(most)d programs.") % {"most": MAX_PROGRAMS}
        raise Invalid("token_programs_too_many", message, field="programs")
    refuse_unstorable(list(names), "programs")
    known = {name for find in _finders for name in find(actor, names)}
    for position, name in enumerate(names):
        if name not in known:
            raise Invalid("token_program_unknown", _("There is no such program."), field=f"programs.{position}")
    return sorted(known)


def checked_rate(rate_limit: int | None) -> int | None:
    """Requests per minute. Raises `Invalid` (`rate_limit_invalid`)."""
    if rate_limit is None or (type(rate_limit) is int and 1 <= rate_limit <= MAX_RATE_LIMIT):
        return rate_limit
    message = _("A rate limit is a whole number of requests per minute from 1 to %(most)d.") % {"most": MAX_RATE_LIMIT}
    raise Invalid("rate_limit_invalid", message, field="rate_limit")


def checked_overlap(overlap: timedelta) -> timedelta:
    """Raises `Invalid` (`token_overlap_invalid`)."""
    if timedelta() <= overlap <= MAX_OVERLAP:
        return overlap
    message = _("The old token stays usable for at most 30 days.")
    raise Invalid("token_overlap_invalid", message, field="overlap_s")


def limits_by_default(actor: User) -> Mapping[str, Any]:
    """What a new token is limited to where nothing is said: as `actor`'s own token, if they came with one."""
    grant = actor.grant
    if grant is None:
        return {"scopes": list(Scope), "programs": [], "rate_limit": None, "expires_at": None}
    return {
        "scopes": list(grant.scopes),
        "programs": sorted(grant.programs),
        "rate_limit": grant.rate_limit,
        "expires_at": grant.expires_at,
    }


def refuse_more_than_own(actor: User, token: ApiToken) -> None:
    """Raise `Forbidden` (`token_exceeds_own`) when `token` allows more than the token that `actor` came with, or for
    longer."""
    grant = actor.grant
    if grant is None:
        return
    exceeds = {
        "scopes": not set(token.scopes) <= grant.scopes,
        "programs": bool(grant.programs) and not (token.programs and set(token.programs) <= grant.programs),
        "rate_limit": grant.rate_limit is not None and (token.rate_limit or MAX_RATE_LIMIT + 1) > grant.rate_limit,
        "expires_at": grant.expires_at is not None
        and (token.expires_at is None or token.expires_at > grant.expires_at),
    }
    for name in (name for name, is_more in exceeds.items() if is_more):
        message = _("A token makes none that may do more than itself.")
        raise Forbidden("token_exceeds_own", message, field=name)
