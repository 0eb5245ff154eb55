"""What an admitted document may take while it runs: so long, and so many fields.

What it costs was weighed before, by how long lists usually are. Here it is counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import graphene
from django.db import OperationalError, connection
from django.utils.translation import gettext as _
from graphql import DocumentNode, ExecutionContext, ExecutionResult, execute

from mlops.errors import DomainError, Invalid, Unavailable
from mlops.graphql.errors import as_graphql_error
from mlops.models import User

TIME_LIMIT_S = 10.0
"""After this long an operation resolves nothing more, and what it is asking of the database then is cancelled."""

MAX_RESOLVED = 100_000
"""Fields of one operation. Five times what a document may be weighed at; the whole schema has some 22,000."""


class _Stopped(BaseException):
    """Ends an operation at once. graphql-core would make an `Exception` the error of one field and go on."""

    def __init__(self, refusal: DomainError) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Allowance:
    """What one operation may take. As a wrapper of statements it cancels the one that is under way when time is up.

    Raises `Unavailable` (`graphql_timeout`) for that one and for all that come after it.
    """

    def __init__(self) -> None:
        self._ends = time.monotonic() + TIME_LIMIT_S
        self._fields = 0
        self._cancel: Callable[[], None] = lambda: None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Allowance:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing that the connection is asked later is cancelled: the timer's thread has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.refuse_if_over()
        database = context["connection"].connection
        self._cancel = database.cancel if connection.vendor == "postgresql" else database.interrupt
        self._start_timer()
        try:
            return execute(sql, params, many, context)
        except OperationalError:
            self.refuse_if_over()
            raise

    def spend_field(self) -> None:
        """Raises `_Stopped` when there is no time, or there are no fields, left."""
        self._fields += 1
        if self._fields > MAX_RESOLVED:
            message = _("The query resolves more than %(limit)d fields. Ask for less at once.")
            raise _Stopped(Invalid("graphql_too_costly", message % {"limit": MAX_RESOLVED}))
        try:
            self.refuse_if_over()
        except Unavailable as refusal:
            raise _Stopped(refusal) from None

    def refuse_if_over(self) -> None:
        if time.monotonic() >= self._ends:
            raise Unavailable("graphql_timeout", _("The operation took too long. Ask for less at once."))

    def _stop(self) -> None:
        self._cancel()

    def _start_timer(self) -> None:
        """With the first statement: what asks the database nothing, like most events, needs no thread."""
        if self._timer is None:
            timer = threading.Timer(max(self._ends - time.monotonic(), 0), self._stop)
            timer.start()
            self._timer = timer


@dataclass(frozen=True, slots=True)
class Context:
    """What resolvers know besides the row: who asks."""

    actor: User
    allowance: Allowance = field(default_factory=Allowance)


def executed(
    schema: graphene.Schema,
    document: DocumentNode,
    actor: User,
    *,
    variables: Mapping[str, Any],
    operation: str | None,
    root: Any = None,
) -> ExecutionResult:
    """The result of an admitted document, or of one event of a subscription, which is its `root`."""
    context = Context(actor)
    with context.allowance as allowance, connection.execute_wrapper(allowance):
        try:
            result = execute(
                schema.graphql_schema,
                document,
                root_value=root,
                context_value=context,
                variable_values=dict(variables),
                operation_name=operation,
                execution_context_class=_Counted,
            )
            assert isinstance(result, ExecutionResult)  # nothing here is awaitable
            if result.errors:
                allowance.refuse_if_over()  # a statement that was cancelled may look like a database that is away
        except _Stopped as stopped:
            return ExecutionResult(errors=[as_graphql_error(stopped.refusal)])
        except DomainError as refusal:
            return ExecutionResult(errors=[as_graphql_error(refusal)])
    return result


class _Counted(ExecutionContext):
    def execute_field(self, *asked: Any) -> Any:
        self.context_value.allowance.spend_field()
        return super().execute_field(*asked)
