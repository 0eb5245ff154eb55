"""One subscription of a connection, from its document to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Model
from django.utils.translation import gettext as _
from graphene.utils.str_converters import to_camel_case
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    OperationType,
    create_source_event_stream,
    get_operation_ast,
)
from graphql.language import visit
from graphql.language.visitor import Visitor

from mlops.encoding import encoded
from mlops.errors import DomainError, Invalid
from mlops.graphql.connected import connected
from mlops.graphql.errors import formatted
from mlops.graphql.executing import Context, executed
from mlops.graphql.limits import GraphQLErrors, admitted
from mlops.graphql.snapshots import Snapshot, snapshots_of
from mlops.graphql.subscriptions import Right, Stream
from mlops.graphql.views import Asked
from mlops.models import User
from mlops.services.database import off_the_loop
from mlops.services.rates import acheck_rate

if TYPE_CHECKING:
    from mlops.graphql.sockets import SubscriptionSocket


class Operation:
    """Runs in a task of its own; tells its connection what happens until it is over."""

    def __init__(self, socket: SubscriptionSocket, id: str, asked: Asked) -> None:
        self.id = id
        self.is_dropped = False
        self._socket = socket
        self._asked = asked
        self._stream: Stream | None = None
        self._revisions: dict[UUID, int] = {}
        self._task = asyncio.create_task(self._run(), name=f"subscription-{id[:40]}")

    @property
    def actor(self) -> User:
        """Whose connection it is, as they are by now."""
        return self._socket.actor

    def right(self) -> Right | None:
        """The right to go on; None before it has begun."""
        return None if self._stream is None else self._stream.subject.right()

    def refuse(self, refusal: DomainError) -> None:
        """End it: the right to it is gone, also to what waits to be sent."""
        self.stop()
        self._end_with_errors([told(refusal)])

    def stop(self) -> None:
        """End it without a word; what waits to be sent is dropped."""
        self.is_dropped = True
        self._task.cancel()

    async def stopped(self) -> None:
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            await self._tell_changes()
        except GraphQLErrors as refusal:
            self._end_with_errors([formatted(error) for error in refusal.errors])
        except Exception as error:
            self._end_with_errors([told(error)])
        else:
            self._socket.over(self, "complete")

    async def _tell_changes(self) -> None:
        await acheck_rate(self.actor)
        document = await off_the_loop(self._admitted)
        self._stream = stream = await self._subscribed(document)
        columns = _columns_asked(document, stream.kind._meta.deferred)
        changes = aiter(stream)
        try:
            async for change in changes:
                snapshot = await snapshots_of(stream.kind).of(change.id, change.revision)
                if snapshot is None:
                    raise stream.subject.policy.not_found()
                if self._is_news(change.id, snapshot):
                    await snapshot.with_columns(columns)
                    await self._tell(snapshot, stream, document)
                if stream.subject.ends and snapshot.is_final:
                    return
        finally:
            await changes.aclose()

    def _admitted(self) -> DocumentNode:
        schema, asked = self._socket.schema, self._asked
        document = admitted(schema.graphql_schema, asked.query, asked.variables, asked.operation)
        operation = get_operation_ast(document, asked.operation)
        if operation is not None and operation.operation is not OperationType.SUBSCRIPTION:
            raise Invalid("graphql_not_a_subscription", _("Only subscriptions are asked for over WebSocket."))
        return document

    async def _subscribed(self, document: DocumentNode) -> Stream:
        """Raises `GraphQLErrors`."""
        try:
            stream = await create_source_event_stream(
                self._socket.schema.graphql_schema,
                document,
                context_value=Context(self.actor),
                variable_values=dict(self._asked.variables),
                operation_name=self._asked.operation,
            )
        except RuntimeError as error:
            if not isinstance(error.__cause__, StopIteration):
                raise
            nothing = GraphQLError(_("Nothing is left of the operation once its directives are applied."))
            raise GraphQLErrors([nothing]) from None
        if isinstance(stream, ExecutionResult):
            raise GraphQLErrors(stream.errors or [])
        assert isinstance(stream, Stream)  # our root fields give nothing else
        return stream

    def _is_news(self, id: UUID, snapshot: Snapshot) -> bool:
        """A row may have been read later than the change that led to it: then that has been told."""
        is_news = snapshot.revision > self._revisions.get(id, 0)
        if snapshot.is_final:
            self._revisions.pop(id, None)
        else:
            self._revisions[id] = snapshot.revision
        return is_news

    async def _tell(self, snapshot: Snapshot, stream: Stream, document: DocumentNode) -> None:
        await connected().be_fresh()
        actor, subject = self.actor, stream.subject
        by_right = (actor.pk, actor.role, actor.is_active, actor.grant)
        payload = await snapshot.once(
            (by_right, self._asked.digest),
            lambda row: self._payload(row, actor, document) if subject.policy.can(actor, "view", row) else None,
        )
        if payload is not None:
            self._socket.tell(self, payload)
        elif subject.ends:
            raise subject.policy.not_found()

    def _payload(self, row: Model, actor: User, document: DocumentNode) -> bytes:
        asked = self._asked
        result = executed(
            self._socket.schema, document, actor, variables=asked.variables, operation=asked.operation, root=row
        )
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            body["errors"] = [formatted(error) for error in result.errors]
        return encoded(body, default=str)

    def _end_with_errors(self, errors: list[Mapping[str, Any]]) -> None:
        self._socket.over(self, "error", encoded(errors, default=str))


def told(error: Exception) -> dict[str, Any]:
    """An entry of `errors`."""
    return formatted(GraphQLError(str(error), original_error=error))


class _Names(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def enter_field(self, node: FieldNode, *_args: Any) -> None:
        self.found.add(node.name.value)


def _columns_asked(document: DocumentNode, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `columns` that the document may ask for."""
    names = _Names()
    visit(document, names)
    return tuple(column for column in columns if to_camel_case(column) in names.found)
