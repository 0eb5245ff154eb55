"""The GraphQL schema as it was promised: docs/schema.graphql."""

from __future__ import annotations

from graphql import build_schema, print_schema
from graphql.utilities import find_breaking_changes

from config.graphql import schema
from tests.sources import ROOT


def test_the_snapshot_is_the_schema() -> None:
    """What would break clients is named; `make snapshot` takes the change over."""
    promised = (ROOT / "docs/schema.graphql").read_text()
    breaking = find_breaking_changes(build_schema(promised), schema.graphql_schema)
    assert promised.strip() == print_schema(schema.graphql_schema).strip(), [change.description for change in breaking]
