"""Lists by keyset: each page begins behind the last row of the one before, so depth costs nothing."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q, QuerySet
from django.utils.translation import gettext as _
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from mlops.errors import Invalid

MAX_PAGE_SIZE = 200
MAX_CURSOR = 1_000


class KeysetPagination(BasePagination):
    """`?cursor=&page_size=`; newest first unless the queryset is ordered otherwise, `id` breaking ties.

    The answer is `{"next": url or null, "results": [...]}`. Columns of the ordering must not be null.
    """

    page_size = 50
    parameters = ("cursor", "page_size")

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        self.request = request
        size = page_size_of(request, self.page_size)
        self.ordering = _with_tie_breaker(queryset)
        ordered = queryset.order_by(*self.ordering)
        if cursor := request.query_params.get("cursor"):
            ordered = ordered.filter(_behind(queryset.model, self.ordering, _decoded(cursor, self.ordering)))
        rows = list(ordered[: size + 1])
        self.next_cursor = _encoded(rows[size - 1], self.ordering) if len(rows) > size else None
        return rows[:size]

    def get_paginated_response(self, data: Any) -> Response:
        address = self.request.build_absolute_uri()
        following = replace_query_param(address, "cursor", self.next_cursor) if self.next_cursor else None
        return Response({"next": following, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        following = {"type": ["string", "null"], "format": "uri", "description": "Address of the next page."}
        return {
            "type": "object",
            "required": ["next", "results"],
            "properties": {"next": following, "results": schema},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE, "default": self.page_size}
        return [
            {"name": "cursor", "in": "query", "schema": {"type": "string"}, "description": "From `next`."},
            {"name": "page_size", "in": "query", "schema": size},
        ]


def page_size_of(request: Request, default: int) -> int:
    """The query parameter `page_size`. Raises `Invalid` (`page_size_invalid`)."""
    asked = request.query_params.get("page_size", str(default))
    if not (asked.isascii() and asked.isdigit() and 1 <= int(asked[:9]) <= MAX_PAGE_SIZE):
        raise Invalid("page_size_invalid", _("A page has 1 to 200 rows."), field="page_size")
    return int(asked)


def _with_tie_breaker(queryset: QuerySet[Any]) -> tuple[str, ...]:
    ordering = tuple(str(name) for name in queryset.query.order_by) or ("-id",)
    if ordering[-1].lstrip("-") in ("id", "pk"):
        return ordering
    return (*ordering, "-id" if ordering[-1].startswith("-") else "id")


def _encoded(row: Model, ordering: tuple[str, ...]) -> str:
    values = [_text_of(row, name.lstrip("-")) for name in ordering]
    raw = json.dumps([list(ordering), values], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


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
