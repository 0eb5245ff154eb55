"""Where a change comes from: through which edge, and in answer to which request.

Edges set it, history rows keep it. It travels in a context variable, so concurrent requests each find their own, and
threads that work for a request find that of the request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum


class Edge(StrEnum):
    """Through what somebody acts."""

    ADMIN = "admin"
    REST = "rest"
    GRAPHQL = "graphql"
    TASK = "task"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Origin:
    """`request_id` is that of the HTTP request or of the Celery task; empty for a call from Python."""

    source: Edge = Edge.PYTHON
    request_id: str = ""


_origin: ContextVar[Origin] = ContextVar("signet_origin", default=Origin())  # noqa: B039  # frozen


def current_origin() -> Origin:
    return _origin.get()


@contextmanager
def acting(origin: Origin) -> Iterator[None]:
    """What this context changes comes from `origin`."""
    token = _origin.set(origin)
    try:
        yield
    finally:
        _origin.reset(token)
