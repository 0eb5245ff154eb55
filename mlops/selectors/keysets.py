"""Pages by keyset: each begins behind the last row of the one before, so depth costs nothing.

REST lists and GraphQL connections are cut into pages by it; a cursor of one is none of the other's business, but they
look alike.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q, QuerySet
from django.utils.translation import gettext as _

from mlops.errors import Invalid

PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
MAX_CURSOR = 1_000


@dataclass(frozen=True, slots=True)
class Keyset:
    """Rows in an order that puts each of them in one place: newest first unless the queryset is ordered otherwise, `id`
    breaking ties. Columns of the ordering must not be null."""

    rows: QuerySet[Any]
    ordering: tuple[str, ...]

    @classmethod
    def of(cls, queryset: QuerySet[Any]) -> Keyset:
        ordering = _with_tie_breaker(queryset)
        return cls(queryset.order_by(*ordering), ordering)

    def behind(self, cursor: str) -> Keyset:
        """The rows after the one that `cursor` stands for. Raises `Invalid` (`cursor_invalid`)."""
        condition = _behind(self.rows.model, self.ordering, _decoded(cursor, self.ordering))
        return Keyset(self.rows.filter(condition), self.ordering)

    def cursor_of(self, row: Model) -> str:
        values = [_text_of(row, name.lstrip("-")) for name in self.ordering]
        raw = json.dumps([list(self.ordering), values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _with_tie_breaker(queryset: QuerySet[Any]) -> tuple[str, ...]:
    ordering = tuple(str(name) for name in queryset.query.order_by) or ("-id",)
    if ordering[-1].lstrip("-") in ("id", "pk"):
        return ordering
    return (*ordering, "-id" if ordering[-1].startswith("-") else "id")


def _text_of(row: Model, name: str) -> str:
    return str(_column(type(row), name).value_to_string(row))


def _decoded(cursor: str, ordering: tuple[str, ...]) -> list[str]:
    try:
        raw = base64.urlsafe_b64decode(cursor[:MAX_CURSOR].encode() + b"=" * (-len(cursor) % 4))
        made_for, values = json.loads(raw)
        if made_for != list(ordering) or not all(isinstance(value, str) for value in values):
            raise ValueError(cursor)
    except (ValueError, TypeError, RecursionError):
        raise _cursor_invalid() from None
    if len(values) != len(ordering):
        raise _cursor_invalid()
    return list(values)


def _behind(model: type[Model], ordering: tuple[str, ...], values: list[str]) -> Q:
    """The rows after the one with `values`: (a > x) or (a = x and b > y), each direction as ordered."""
    behind, equal = Q(), Q()
    for name, text in zip(ordering, values, strict=True):
        column = name.lstrip("-")
        value = _value_of(model, column, text)
        behind |= equal & Q(**{f"{column}__{'lt' if name.startswith('-') else 'gt'}": value})
        equal &= Q(**{column: value})
    return behind


def _value_of(model: type[Model], column: str, text: str) -> Any:
    try:
        value = _column(model, column).to_python(text)
    except (ValidationError, ValueError, OverflowError):
        raise _cursor_invalid() from None
    if value is None or (isinstance(value, str) and "\x00" in value):
        raise _cursor_invalid()
    return value


def _column(model: type[Model], name: str) -> Field[Any, Any]:
    return cast("Field[Any, Any]", model._meta.get_field(name))  # declared orderings name columns


def _cursor_invalid() -> Invalid:
    return Invalid("cursor_invalid", _("The cursor belongs to no such list."), field="cursor")
