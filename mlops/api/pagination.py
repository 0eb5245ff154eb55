"""REST lists by keyset."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from mlops.errors import Invalid
from mlops.selectors.keysets import MAX_PAGE_SIZE, PAGE_SIZE, Keyset


class KeysetPagination(BasePagination):
    """`?cursor=&page_size=`. The answer is `{"next": url or null, "results": [...]}`."""

    page_size = PAGE_SIZE
    parameters = ("cursor", "page_size")

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        self.request = request
        size = page_size_of(request, self.page_size)
        keyset = Keyset.of(queryset)
        if cursor := request.query_params.get("cursor"):
            keyset = keyset.behind(cursor)
        rows = list(keyset.rows[: size + 1])
        self.next_cursor = keyset.cursor_of(rows[size - 1]) if len(rows) > size else None
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
