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

from django.db import connection
from django.db.models import ForeignKey, Model, QuerySet, Window
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


def target_of(row: Model, name: str, targets: QuerySet[Any]) -> Any | None:
    """The row of `targets` that the foreign key `name` of `row` points at; None also for one that is not among them."""
    column = cast("ForeignKey[Any, Any]", type(row)._meta.get_field(name)).attname

    def read(rows: list[Any]) -> dict[Any, Any]:
        found = targets.in_bulk({getattr(peer, column) for peer in rows} - {None})
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


def children_of(row: Model, key: Hashable, column: str, children: Keyset, size: int) -> list[Any]:
    """The first `size` of `children` whose foreign key `column` points at `row`; `key` tells apart what one list is
    asked for twice."""

    def read(rows: list[Any]) -> dict[Any, list[Any]]:
        found = _first_of_each(children, column, [peer.pk for peer in rows], size)
        together(found)
        by_parent = defaultdict(list)
        for child in found:
            by_parent[getattr(child, column)].append(child)
        return by_parent

    return peers_of(row).once(("children", column, key), read).get(row.pk, [])


def _first_of_each(children: Keyset, column: str, parents: list[Any], size: int) -> list[Any]:
    """One query. Each part of a union ends after `size` entries of an index, however many children there are; a window
    goes through all of them, which is what SQLite can do."""
    if len(parents) == 1:
        return list(children.rows.filter(**{column: parents[0]})[:size])
    if connection.features.supports_slicing_ordering_in_compound:
        parts = [children.rows.filter(**{column: parent})[:size] for parent in parents]
        return _in_order(parts[0].union(*parts[1:], all=True), children.ordering)
    number = Window(RowNumber(), partition_by=[column], order_by=children.ordering)
    numbered = children.rows.filter(**{f"{column}__in": parents}).annotate(nth_child=number)
    return _in_order(numbered.filter(nth_child__lte=size), children.ordering)


def _in_order(rows: Iterable[Any], ordering: tuple[str, ...]) -> list[Any]:
    """Neither form of the query promises an order of its rows."""
    found = list(rows)
    for name in reversed(ordering):
        found.sort(key=attrgetter(name.lstrip("-")), reverse=name.startswith("-"))
    return found
