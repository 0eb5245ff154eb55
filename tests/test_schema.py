"""The GraphQL schema as it was promised: docs/schema.graphql, and lists that are those of REST."""

from __future__ import annotations

from typing import Any

from django.contrib.admindocs.views import extract_views_from_urlpatterns
from django.urls import get_resolver
from graphene.utils.str_converters import to_camel_case
from graphql import build_schema, print_schema
from graphql.utilities import find_breaking_changes

from config.graphql import Query, schema
from mlops.graphql.lists import Rows
from tests.sources import ROOT

CALLED_OTHERWISE = {"after": "createdAfter", "before": "createdBefore"}
"""Filters of REST whose names lists have for something else here."""


def test_the_snapshot_is_the_schema() -> None:
    """What would break clients is named; `make snapshot` takes the change over."""
    promised = (ROOT / "docs/schema.graphql").read_text()
    breaking = find_breaking_changes(build_schema(promised), schema.graphql_schema)
    assert promised.strip() == print_schema(schema.graphql_schema).strip(), [change.description for change in breaking]


def viewsets() -> set[Any]:
    """Those that have a list."""
    views: list[Any] = [view for view, *_names in extract_views_from_urlpatterns(get_resolver().url_patterns)]
    return {view.cls for view in views if "list" in getattr(view, "actions", {}).values()}


def test_every_list_has_the_filters_orders_and_searches_of_rest() -> None:
    query = schema.graphql_schema.query_type
    assert query is not None
    lists = {one.record._meta.model: (name, one) for name, one in Query._meta.fields.items() if isinstance(one, Rows)}
    of_rest = {view.queryset.model: view for view in viewsets()}
    assert of_rest.keys() == lists.keys()
    for model, view in of_rest.items():
        name, rows = lists[model]
        listed: Any = rows.record._meta.listed
        assert listed.filters is view.filterset_class, name
        assert listed.orderings == tuple(view.ordering_fields), name
        assert listed.search == tuple(getattr(view, "search_fields", ())), name
        filters = {CALLED_OTHERWISE.get(one, to_camel_case(one)) for one in view.filterset_class.base_filters}
        given = {"orderBy": listed.orderings, "search": listed.search}
        paging = {"first", "after", *(argument for argument, has in given.items() if has)}
        assert query.fields[to_camel_case(name)].args.keys() == filters | paging, name
