"""By what those who stay connected are known, and who they are by now: asked of all of them at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from django.contrib.auth import get_user
from django.http import HttpRequest

from mlops.models import User
from mlops.services.tokens import owners_of
from mlops.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A raw token."""

    raw: str


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """The key of a session, as its cookie has it."""

    key: str


Credentials: TypeAlias = BearerToken | BrowserSession


def known_by(credentials: Collection[Credentials]) -> dict[Credentials, User]:
    """Who is known by each of `credentials` as of now; those are missing that are good no longer.

    One query for all tokens, and two for each session, of which there are few.
    """
    owners = owners_of([one.raw for one in credentials if isinstance(one, BearerToken)])
    found: dict[Credentials, User] = {BearerToken(raw): user for raw, user in owners.items()}
    for one in credentials:
        if isinstance(one, BrowserSession) and (user := _user_of(one.key)):
            found[one] = user
    return found


def _user_of(key: str) -> User | None:
    """Whose session it is; a changed password ends sessions too."""
    request = HttpRequest()
    request.session = SessionStore(key)
    user = get_user(request)
    return user if isinstance(user, User) and user.is_active else None
