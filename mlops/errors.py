"""The errors of the domain. Codes never change; messages are for people and go through gettext where they are raised.

Each class says what kind of refusal it is; every edge has one mapper from class to its own form (HTTP status, GraphQL
error, admin message).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where: `field` is a dotted path into what the caller sent."""

    code: str
    message: str
    field: str = ""


class DomainError(Exception):
    """A refusal that the caller can understand and act upon."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str = "",
        problems: Sequence[Problem] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.problems = tuple(problems) or (Problem(code, message, field),)
        self.extra = dict(extra or {})


class Invalid(DomainError):
    """What was sent cannot be accepted (400)."""


class Unauthenticated(DomainError):
    """Nobody is known to be asking (401)."""


class InsufficientCredits(DomainError):
    """The actor's credits do not cover the work (402)."""


class Forbidden(DomainError):
    """The actor sees the row but may not do this to it (403)."""


class NotFound(DomainError):
    """There is no such row, or the actor may not know of it (404)."""


class Conflict(DomainError):
    """The row's present state does not allow this (409)."""


class Stale(DomainError):
    """Somebody was faster: the row is no longer the one that was read (412)."""


class TooLarge(DomainError):
    """More was sent than is accepted (413)."""


class TooMany(DomainError):
    """More was asked for in this while than is allowed; `retry_after_s` of `extra` says when to come again (429)."""


class Unavailable(DomainError):
    """Nothing is wrong with the request; it may be repeated after a while (503)."""


def all_of(problems: Sequence[Problem], *, code: str, message: str) -> Invalid:
    """One refusal that reports every problem at once."""
    return Invalid(code, message, problems=problems, field=problems[0].field)


@contextmanager
def named_as_in(body: Mapping[str, str]) -> Iterator[None]:
    """Let what is refused here name its fields as the body does; `body` has their names by those of the service."""
    try:
        yield
    except DomainError as error:
        error.field = body.get(error.field, error.field)
        error.problems = tuple(replace(one, field=body.get(one.field, one.field)) for one in error.problems)
        raise
