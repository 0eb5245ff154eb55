"""What a token leaves of its owner's rights: its scopes, and the programs that it is good for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.models import AnonymousUser
from django.utils.translation import gettext as _

from mlops.errors import Forbidden
from mlops.types import Grant, Scope

if TYPE_CHECKING:
    from mlops.querysets import Viewer


def grant_of(viewer: Viewer) -> Grant | None:
    """What the token allows by which `viewer` came; None for sessions and calls from Python, which nothing narrows."""
    return None if isinstance(viewer, AnonymousUser) else viewer.grant


def programs_of_grant(viewer: Viewer) -> frozenset[str]:
    """The names of the only programs that the token of `viewer` is good for; empty where nothing is restricted."""
    grant = grant_of(viewer)
    return frozenset() if grant is None else grant.programs


def token_scope_missing(scope: Scope) -> Forbidden:
    """The role would allow it, the token does not; `scope` of `extra` is what it lacks."""
    message = _("The token lacks the scope %(scope)s.") % {"scope": scope.value}
    return Forbidden("token_scope_missing", message, extra={"scope": scope.value})


def token_restricted() -> Forbidden:
    message = _("The token is good for its programs only, and this belongs to none of them.")
    return Forbidden("token_restricted", message)
