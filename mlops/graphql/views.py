"""POST /graphql/: one document with its operation and variables, as JSON. No batches, and nothing by GET but the page
that asks: GraphiQL, for staff who are logged in.

Who asks, how often, and how much they may send is settled as for REST, and refused in its words; what is wrong with the
document or its operation stands in `errors`, each with its code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import graphene
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from graphql import DocumentNode, ExecutionResult, OperationType, get_operation_ast
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops.encoding import encoded
from mlops.errors import DomainError, Invalid
from mlops.graphql.errors import as_graphql_error, formatted
from mlops.graphql.executing import executed
from mlops.graphql.limits import GraphQLErrors, admitted
from mlops.models import User


@dataclass(frozen=True, slots=True)
class Asked:
    """The body of a request. `query` is the document, whatever its operations are."""

    query: str
    variables: Mapping[str, Any]
    operation: str | None

    @property
    def digest(self) -> bytes:
        """Equal for those who ask the same."""
        asked = [self.query, self.variables, self.operation]
        return hashlib.sha256(encoded(asked, is_sorted=True)).digest()

    @classmethod
    def of(cls, body: Any) -> Asked:
        """Raises `Invalid` (`not_an_object`, `required`, `unknown_field`, `not_a_string`)."""
        if not isinstance(body, dict):
            raise Invalid("not_an_object", _('Send one operation, such as {"query": "{ listPrograms { ... } }"}.'))
        for name in body:
            if name not in ("query", "variables", "operationName", "extensions"):
                raise Invalid("unknown_field", _("There is no such field."), field=name)
        query, variables = body.get("query"), body.get("variables")
        operation = body.get("operationName")
        if not isinstance(query, str) or not query:
            raise Invalid("required", _("The document of the operation is missing."), field="query")
        if not isinstance(variables, dict | None):
            raise Invalid("not_an_object", _("Variables are an object."), field="variables")
        if not isinstance(operation, str | None):
            raise Invalid("not_a_string", _("Expected a string."), field="operationName")
        return cls(query, variables or {}, operation)


FIRST_QUERY = """# Ctrl-Enter asks, Ctrl-Space completes. Subscriptions go on until you stop them.
{
  me { username role credits }
  listPrograms(first: 5) { edges { node { id name version status } } }
}
"""
"""What the page begins with."""


class GraphQLView(APIView):
    """The endpoint of one schema."""

    schema: Any = None  # a graphene.Schema; drf-spectacular has another use for the name, and skips this view

    @extend_schema(exclude=True)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    def get(self, request: Request) -> HttpResponse:
        """Raises `MethodNotAllowed` for everybody else, as if there were no page."""
        actor: Any = request.user
        if not actor.is_staff or actor.grant is not None:
            raise MethodNotAllowed("GET")
        return render(request._request, "mlops/graphiql.html", {"query": FIRST_QUERY})

    @extend_schema(exclude=True)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    def post(self, request: Request) -> Response:
        actor: Any = request.user  # IsAuthenticated stands before every action
        asked = Asked.of(request.data)
        result = answered(self.schema, asked, actor)
        has_begun = result.data is not None or any(error.path for error in result.errors or ())
        body: dict[str, Any] = {"data": result.data} if has_begun else {}
        if result.errors:
            body["errors"] = [formatted(error) for error in result.errors]
        return Response(body, status=200 if has_begun else 400)


def answered(schema: graphene.Schema, asked: Asked, actor: User) -> ExecutionResult:
    """The result of a query or a mutation; subscriptions have another address."""
    try:
        document = admitted(schema.graphql_schema, asked.query, asked.variables, asked.operation)
        _refuse_subscription(document, asked.operation)
    except GraphQLErrors as refusal:
        return ExecutionResult(errors=refusal.errors)
    except DomainError as refusal:
        return ExecutionResult(errors=[as_graphql_error(refusal)])
    return executed(schema, document, actor, variables=asked.variables, operation=asked.operation)


def _refuse_subscription(document: DocumentNode, operation: str | None) -> None:
    asked = get_operation_ast(document, operation)
    if asked is not None and asked.operation is OperationType.SUBSCRIPTION:
        raise Invalid("graphql_subscription_elsewhere", _("Subscriptions are asked for over WebSocket."))
