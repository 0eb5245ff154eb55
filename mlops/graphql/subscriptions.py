"""Subscriptions to rows that have a state and a revision: of one row until it ends, or of all rows of another one.

    class Subscription(graphene.ObjectType):
        execution_updates = Updates(ExecutionType, followed, program_id=graphene.ID(), execution_id=graphene.ID())

`followed(actor=, **arguments)` looks up what is subscribed to, in the scope of the actor. A row is read once for all
who hear of a change, and executed once for all who ask the same of it by the same right (`mlops.graphql.snapshots`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import graphene
from django.db.models import Model

from mlops.errors import NotFound
from mlops.graphql.records import Record, actor_of
from mlops.models import User
from mlops.policies import Policy
from mlops.services.database import off_the_loop
from mlops.services.following import followers_of
from mlops.services.watching import Change, watchers_of

Once: TypeAlias = Callable[[Hashable, Callable[[], Any]], Any]
"""`once(key, read)`: what `read` gives, read once for all whose rights are asked together."""

Right: TypeAlias = Callable[[User, Once], None]
"""Asked on a database thread. Raises `NotFound` for whom there is no such row (any more)."""


class Subject(ABC):
    """What is subscribed to. `policy` is that of the rows; `ends` with the end of a row."""

    policy: Policy
    ends: bool

    @abstractmethod
    def changes(self) -> AsyncGenerator[Change, None]:
        """The present state first. On the event loop."""

    @abstractmethod
    def right(self) -> Right:
        """The right to go on. On the event loop."""


@dataclass(frozen=True)
class OneRow(Subject):
    """A row, until it ends."""

    policy: Policy
    model: type[Model]
    id: UUID
    ends = True

    def changes(self) -> AsyncGenerator[Change, None]:
        return watchers_of(self.model).changes(self.id)

    def right(self) -> Right:
        """Of the row as the last look found it; until then it was asked when the operation began."""
        row = watchers_of(self.model).seen(self.id)
        return lambda actor, once: None if row is None else _check(self.policy, actor, row)


@dataclass(frozen=True)
class Children(Subject):
    """The rows whose foreign key `key` points at `parent`, those that the actor may see."""

    policy: Policy
    model: type[Model]
    key: str
    parent: Any
    parents: Policy
    ends = False

    def changes(self) -> AsyncGenerator[Change, None]:
        return followers_of(self.model, self.key).changes(self.parent.pk)

    def right(self) -> Right:
        return self._check_parent

    def _check_parent(self, actor: User, once: Once) -> None:
        rows: Any = type(self.parent)._default_manager
        _check(self.parents, actor, once(self.parent.pk, lambda: rows.filter(pk=self.parent.pk).first()))


def _check(policy: Policy, actor: User, row: Any) -> None:
    if row is None or not policy.can(actor, "view", row):
        raise policy.not_found()


def uuid_of(id: str | None, not_found: Callable[[], NotFound]) -> UUID:
    """The key that an argument is. Raises what `not_found` gives: what is no key is nobody's."""
    try:
        return UUID(id)
    except ValueError:
        raise not_found() from None


@dataclass(frozen=True)
class Stream:
    """What a subscription's root field gives: changes of `subject`, to be told as rows of `kind`."""

    kind: type[Record]
    subject: Subject

    def __aiter__(self) -> AsyncGenerator[Change, None]:
        return self.subject.changes()


class Updates(graphene.Field):  # type: ignore[misc]  # graphene has no types
    """A root field: a row as it is after each of its changes."""

    def __init__(self, kind: type[Record], followed: Callable[..., Subject], **options: Any) -> None:
        self.kind = kind
        self._followed = followed
        super().__init__(graphene.NonNull(kind), resolver=lambda row, info, **_arguments: row, **options)

    def wrap_subscribe(self, parent_subscribe: Any) -> Any:
        return self._subscribe

    async def _subscribe(self, root: Any, info: Any, **arguments: Any) -> Stream:
        actor = actor_of(info)
        return Stream(self.kind, await off_the_loop(lambda: self._followed(actor=actor, **arguments)))
