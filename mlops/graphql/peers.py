"""Rows that were read together load what belongs to them together.

A resolver is called for one row at a time. What it reads it reads for all rows of the same list, so that a list takes
one query for each thing that is asked of its rows, whatever their number. It is what Django 6.1 calls fetching peers,
within the scope of `visible_to`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from operator import attrgetter
from typing import Any, TypeVar, cast

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import ForeignKey, Model, OuterRef, QuerySet, Window
from django.db.models.functions import RowNumber

from mlops.selectors.keysets import Keyset

T = TypeVar("T")
_PEERS = "_graphql_peers"


class Peers:
    """The rows of one list, and what was read for all of them."""

    def __init__(self, rows: Iterable[Model]) -> None:
        self.rows = list(rows)
        self._read: dict[Hashable, Any] = {}

    def once(self, key: Hashable, read: Callable[[list[Any]], T]) -> T:
        if key not in self._read:
            self._read[key] = read(self.rows)
        return cast("T", self._read[key])


def together(rows: Iterable[Model]) -> Peers:
    """Make `rows` peers of each other."""
    peers = Peers(rows)
    for row in peers.rows:
        setattr(row, _PEERS, peers)
    return peers


def peers_of(row: Model) -> Peers:
    return getattr(row, _PEERS, None) or together([row])


def target_of(row: Model, name: str, targets: Callable[[], QuerySet[Any]]) -> Any | None:
    """The row of `targets` that the foreign key `name` of `row` points at; None also for one that is not among them."""
    column = cast("ForeignKey[Any, Any]", type(row)._meta.get_field(name)).attname

    def read(rows: list[Any]) -> dict[Any, Any]:
        found = targets().in_bulk({getattr(peer, column) for peer in rows} - {None})
        together(found.values())
        return found

    return peers_of(row).once(("target", name), read).get(getattr(row, column))


def column_of(row: Model, name: str) -> Any:
    """The value of a column that lists leave out, read for all peers that lack it."""
    if name not in row.get_deferred_fields():
        return getattr(row, name)

    def read(rows: list[Any]) -> dict[Any, Any]:
        keys = [peer.pk for peer in rows]
        return dict(type(row)._base_manager.filter(pk__in=keys).values_list("pk", name))

    return peers_of(row).once(("column", name), read).get(row.pk)


def children_of(
    row: Model, key: Hashable, column: str, children: Callable[[], Keyset], size: int
) -> tuple[Keyset, list[Any]]:
    """`children`, and the first `size` of them whose foreign key `column` points at `row`; `key` tells apart what one
    list is asked for twice."""

    def read(rows: list[Any]) -> tuple[Keyset, dict[Any, list[Any]]]:
        keyset = children()
        found = _first_of_each(keyset, column, [peer.pk for peer in rows], size)
        together(found)
        by_parent = defaultdict(list)
        for child in found:
            by_parent[getattr(child, column)].append(child)
        return keyset, by_parent

    keyset, by_parent = peers_of(row).once(("children", column, key), read)
    return keyset, by_parent.get(row.pk, [])


def _first_of_each(children: Keyset, column: str, parents: list[Any], size: int) -> list[Any]:
    """As many queries for many parents as for two.

    PostgreSQL looks up the first children of each parent by index, however many there are. A window goes through all of
    them, which is what SQLite can do.
    """
    if len(parents) == 1:
        return list(children.rows.filter(**{column: parents[0]})[:size])
    if connection.vendor == "postgresql":
        return _in_order(children.rows.filter(pk__in=_first_keys(children, column, parents, size)), children.ordering)
    number = Window(RowNumber(), partition_by=[column], order_by=children.ordering)
    numbered = children.rows.filter(**{f"{column}__in": parents}).annotate(nth_child=number)
    return _in_order(numbered.filter(nth_child__lte=size), children.ordering)


def _first_keys(children: Keyset, column: str, parents: list[Any], size: int) -> list[Any]:
    parent: Any = children.rows.model._meta.get_field(column).related_model
    first = children.rows.filter(**{column: OuterRef("pk")}).values("pk")[:size]
    keys = parent._base_manager.filter(pk__in=parents).values_list(ArraySubquery(first), flat=True)
    return [key for of_one in keys for key in of_one]


def _in_order(rows: Iterable[Any], ordering: tuple[str, ...]) -> list[Any]:
    """Neither way promises an order of the rows."""
    found = list(rows)
    for name in reversed(ordering):
        found.sort(key=attrgetter(name.lstrip("-")), reverse=name.startswith("-"))
    return found
