"""How many queries every list takes, of the root and below a row: tests/graphql_queries.txt.

A list is asked for every column of its rows and every row that they point at, with two or more rows of each kind. Where
a number is to change, `SIGNET_WRITE_QUERIES=1 pytest -n 0 tests/test_graphql_queries.py` (`make snapshot`) writes the
file anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Group
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from graphql import GraphQLList, GraphQLNonNull, GraphQLObjectType, get_named_type, is_leaf_type
from rest_framework.test import APIClient

from config.graphql import schema
from optimizations.models import Schedule
from tests.policies.people import World
from tests.policies.table import Person
from tests.policies.test_reads import rows
from tests.sources import ROOT

BASELINE = ROOT / "tests/graphql_queries.txt"


def below(kind: GraphQLObjectType) -> GraphQLObjectType:
    """The type of the rows of a connection."""
    row: Any = get_named_type(get_named_type(kind.fields["edges"].type).fields["node"].type)
    assert isinstance(row, GraphQLObjectType)
    return row


def is_plain_list(field: Any) -> bool:
    kind = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    return isinstance(kind, GraphQLList)


def columns(kind: GraphQLObjectType) -> str:
    """Every column of a row, and the id of every row that it points at."""
    asked = []
    for name, field in kind.fields.items():
        of: Any = get_named_type(field.type)
        if is_leaf_type(of):
            asked.append(name)
        elif "first" not in field.args and not is_plain_list(field):
            asked.append(f"{name} {{ {'id' if 'id' in of.fields else '__typename'} }}")
    return " ".join(asked)


def connection(name: str, inner: str) -> str:
    return f"{name}(first: 10) {{ edges {{ node {{ {inner} }} }} }}"


def lists() -> Iterator[tuple[str, str]]:
    """Each list with the document that asks for it."""
    query = schema.graphql_schema.query_type
    assert query is not None
    for name, field in query.fields.items():
        if "first" not in field.args:
            continue
        kind = below(get_named_type(field.type))
        yield name, f"{{ {connection(name, columns(kind))} }}"
        for inner, one in kind.fields.items():
            of: Any = get_named_type(one.type)
            if "first" in one.args:
                yield f"{name}.{inner}", f"{{ {connection(name, connection(inner, columns(below(of))))} }}"
            elif is_plain_list(one) and not is_leaf_type(of):
                yield f"{name}.{inner}", f"{{ {connection(name, f'{inner} {{ {columns(of)} }}')} }}"


def counted(api: APIClient) -> dict[str, int]:
    """The queries of each list, those by which the asking one is known among them."""
    found = {}
    api.post("/graphql/", {"query": "{ me { id } }"}, format="json")  # marks the token as used, once a minute
    for name, document in lists():
        with CaptureQueriesContext(database) as captured:
            answer = api.post("/graphql/", {"query": document}, format="json").json()
        assert "errors" not in answer, answer
        assert answer["data"][name.partition(".")[0]]["edges"], f"{name}: no rows"
        found[name] = len(captured)
    return found


@pytest.mark.django_db
def test_every_list_takes_as_many_queries_as_it_is_known_to() -> None:
    first = World.create(in_browsers=False)
    rows(first)
    api = first.api(Person.ADMIN)
    few = counted(api)
    Group.objects.update(name="others")  # what only one row may be called
    Schedule.objects.update(name="other")
    AccessAttempt.objects.all().delete()
    rows(World.create(in_browsers=False))
    more = counted(api)

    assert more == few
    known = "".join(f"{name} {number}\n" for name, number in sorted(more.items()))
    if os.environ.get("SIGNET_WRITE_QUERIES"):
        BASELINE.write_text(known)
    assert known.splitlines() == BASELINE.read_text().splitlines()
