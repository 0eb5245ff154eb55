"""A GraphQL client of the tests."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from mlops.models import User
from tests.conftest import api_of


def asked(actor: User, query: str, /, operation: str | None = None, **variables: Any) -> dict[str, Any]:
    """The answer to a document, `data` and `errors` as they came."""
    body = {"query": query, "variables": variables, **({"operationName": operation} if operation else {})}
    answer: dict[str, Any] = api_of(actor).post("/graphql/", body, format="json").json()
    return answer


def data_of(actor: User, query: str, /, **variables: Any) -> Any:
    """The data of an answer without errors."""
    answer = asked(actor, query, **variables)
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


def codes_of(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer["errors"]]


def nodes(connection: dict[str, Any]) -> list[Any]:
    return [edge["node"] for edge in connection["edges"]]


def queries_for(actor: User, query: str, /, **variables: Any) -> int:
    """How many queries the database is asked for a document, once the process keeps what it keeps."""
    data_of(actor, query, **variables)
    with CaptureQueriesContext(connection) as captured:
        data_of(actor, query, **variables)
    return len(captured)
