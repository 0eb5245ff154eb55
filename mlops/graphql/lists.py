"""Lists of records as Relay connections: forward by keyset, with the filters, orders and searches of REST."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import graphene
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Prefetch, QuerySet, prefetch_related_objects
from django.utils.translation import gettext as _
from django_filters import MultipleChoiceFilter, NumberFilter
from graphene.relay import PageInfo
from graphene_django.forms.converter import convert_form_field

from mlops.errors import Invalid, Problem, all_of
from mlops.filters import BoundedSearchFilter
from mlops.graphql.limits import CHILDREN
from mlops.graphql.peers import children_of, peers_of, together
from mlops.graphql.records import Listed, Record, actor_of, record_of
from mlops.selectors.keysets import MAX_PAGE_SIZE, PAGE_SIZE, Keyset

PAGING = frozenset({"first", "after", "order_by", "search"})
"""Arguments of every list; no filter may be called so."""

RENAMED = {"after": "created_after", "before": "created_before"}
"""What filters of REST are called here, where `after` is a place in a list."""


class _Connection(graphene.Field):  # type: ignore[misc]  # graphene has no types
    """A connection of the records of a type, its arguments read from how the type is listed."""

    page_size = PAGE_SIZE

    def __init__(self, type_: Any, **options: Any) -> None:
        self._listing = type_
        super().__init__(lambda: self.record._meta.connection, required=True, resolver=self._resolve, **options)

    @property
    def record(self) -> type[Record]:
        kind = self._listing if isinstance(self._listing, type) else self._listing()
        return record_of(kind)

    @property
    def args(self) -> dict[str, graphene.Argument]:
        return {name: graphene.Argument(of, description=words) for name, (of, words) in self._arguments().items()}

    @args.setter
    def args(self, args: Mapping[str, Any]) -> None:
        """Arguments are those of the type."""

    def _arguments(self) -> dict[str, tuple[Any, str | None]]:
        listed = self.record._meta.listed
        found: dict[str, tuple[Any, str | None]] = {
            "first": (graphene.Int, f"Rows of the page, {self.page_size} unless told, at most {MAX_PAGE_SIZE}."),
            "after": (graphene.String, "The `endCursor` of the page before."),
        }
        if listed.orderings:
            found["order_by"] = (graphene.String, f"One of {', '.join(listed.orderings)}; a leading minus reverses.")
        if listed.search:
            found["search"] = (graphene.String, f"Words to look for in {', '.join(listed.search)}.")
        for name, one in _filters_of(listed).items():
            found[name] = (_type_of(one), str(one.extra.get("help_text") or "") or None)
        return found

    def _resolve(self, root: Any, info: Any, **given: Any) -> Any:
        first = self._page_size(given.get("first"))
        keyset, rows = self.read(root, lambda: self._keyset(info, given), first + 1, given)
        return _page(self.record, keyset, rows[:first], has_more=len(rows) > first, is_first=not given.get("after"))

    def _keyset(self, info: Any, given: Mapping[str, Any]) -> Keyset:
        keyset = Keyset.of(_listed(self.record, info, given))
        after = given.get("after")
        return keyset.behind(after) if after else keyset

    def _page_size(self, first: int | None) -> int:
        if first is None:
            return self.page_size
        if not 1 <= first <= MAX_PAGE_SIZE:
            raise Invalid("page_size_invalid", _("A page has 1 to 200 rows."), field="first")
        return first

    def read(
        self, root: Any, keyset: Callable[[], Keyset], size: int, given: Mapping[str, Any]
    ) -> tuple[Keyset, list[Any]]:
        """Hook: the keyset and at most `size` rows of it."""
        raise NotImplementedError  # each subclass says what it lists


class Rows(_Connection):
    """All records of a type that the actor may see."""

    def read(
        self, root: Any, keyset: Callable[[], Keyset], size: int, given: Mapping[str, Any]
    ) -> tuple[Keyset, list[Any]]:
        found = keyset()
        return found, together(found.rows[:size]).rows


class Children(_Connection):
    """The records that point at a row by their foreign key `key`; one query for all rows of its list."""

    page_size = CHILDREN

    def __init__(self, type_: Any, key: str, **options: Any) -> None:
        self._key = key
        self._column = f"{key}_id"
        super().__init__(type_, **options)

    def _arguments(self) -> dict[str, tuple[Any, str | None]]:
        return {name: of for name, of in super()._arguments().items() if name != self._key}

    def read(
        self, root: Any, keyset: Callable[[], Keyset], size: int, given: Mapping[str, Any]
    ) -> tuple[Keyset, list[Any]]:
        asked = json.dumps([self.record._meta.name, size, given], sort_keys=True, default=str)
        return children_of(root, asked, self._column, keyset, size)


class All(graphene.Field):  # type: ignore[misc]  # graphene has no types
    """The few records that belong to a row, all of them in a plain list, such as the fields of a signature."""

    def __init__(self, type_: Any, relation: str, **options: Any) -> None:
        self._relation = relation
        super().__init__(graphene.List(graphene.NonNull(type_)), required=True, resolver=self._resolve, **options)

    def _resolve(self, row: Any, info: Any) -> list[Any]:
        kind = record_of(self.type.of_type.of_type)
        kept = f"_all_{self._relation}"

        def read(rows: list[Any]) -> bool:
            prefetch_related_objects(rows, Prefetch(self._relation, kind.visible(info), to_attr=kept))
            together(child for peer in rows for child in getattr(peer, kept))
            return True

        peers_of(row).once(("all", self._relation), read)
        found: list[Any] = getattr(row, kept)
        return found


def _filters_of(listed: Listed) -> dict[str, Any]:
    """The filters of a list by their arguments. Raises `ImproperlyConfigured` where one hides another argument."""
    filters = listed.filters.base_filters if listed.filters else {}
    found = {_argument_of(name): one for name, one in filters.items()}
    if hidden := PAGING & found.keys():
        raise ImproperlyConfigured(f"{listed.filters.__name__}: call {', '.join(hidden)} otherwise, see RENAMED.")
    return found


def _argument_of(name: str) -> str:
    return RENAMED.get(name, name)


def _listed(kind: type[Record], info: Any, given: Mapping[str, Any]) -> QuerySet[Any]:
    """The visible rows of a type, filtered, searched and ordered as asked."""
    listed = kind._meta.listed
    rows = kind.visible(info).order_by(*_ordering(listed, given.get("order_by")))
    filters = {name: value for name, value in given.items() if name not in PAGING and value is not None}
    if filters:
        rows = _filtered(listed.filters, filters, rows, info)
    if words := given.get("search"):
        rows = _searched(rows, words, listed.search)
    return rows


def _filtered(filterset: Any, given: Mapping[str, Any], rows: QuerySet[Any], info: Any) -> QuerySet[Any]:
    for name, value in given.items():
        if isinstance(value, str) and "\x00" in value:
            raise Invalid("unstorable_text", _("Contains a NUL character."), field=name)
    data = {name: given[_argument_of(name)] for name in filterset.base_filters if _argument_of(name) in given}
    asked = filterset(data=data, queryset=rows, request=SimpleNamespace(user=actor_of(info)))
    if not asked.is_valid():
        problems = [
            Problem(str(error.code), " ".join(error.messages), _argument_of(name))
            for name, errors in asked.errors.as_data().items()
            for error in errors
        ]
        raise all_of(problems, code=problems[0].code, message=problems[0].message)
    found: QuerySet[Any] = asked.qs
    return found


def _searched(rows: QuerySet[Any], words: str, columns: tuple[str, ...]) -> QuerySet[Any]:
    if "\x00" in words:
        raise Invalid("unstorable_text", _("Contains a NUL character."), field="search")
    asked: Any = SimpleNamespace(query_params={"search": words})
    place: Any = SimpleNamespace(search_fields=columns)
    return BoundedSearchFilter().filter_queryset(asked, rows, place)


def _ordering(listed: Listed, asked: str | None) -> tuple[str, ...]:
    if asked is None:
        return listed.order_by
    if asked.removeprefix("-") not in listed.orderings:
        message = _("Lists can be ordered by: %(columns)s.") % {"columns": ", ".join(listed.orderings)}
        raise Invalid("ordering_unknown", message, field="order_by")
    return (asked,)


def _page(kind: type[Record], keyset: Keyset, rows: list[Any], *, has_more: bool, is_first: bool) -> Any:
    connection = kind._meta.connection
    edges = [connection.Edge(node=row, cursor=keyset.cursor_of(row)) for row in rows]
    ends = (edges[0].cursor, edges[-1].cursor) if edges else (None, None)
    info = PageInfo(start_cursor=ends[0], end_cursor=ends[1], has_next_page=has_more, has_previous_page=not is_first)
    return connection(edges=edges, page_info=info)


def _type_of(one: Any) -> Any:
    if isinstance(one, NumberFilter):
        return graphene.Int
    if isinstance(one, MultipleChoiceFilter):
        return graphene.List(graphene.String)
    return convert_form_field(one.field).get_type()
