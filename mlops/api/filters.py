"""Query parameters of lists: only the known ones, ordering only by columns that an index serves."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.views import APIView

from mlops.api.pagination import KeysetPagination
from mlops.errors import Invalid


class KnownOrderingFilter(BaseFilterBackend):
    """`?ordering=` on `view.ordering_fields`, a leading minus for descending; unknown names of any parameter are 400.

    A view declares further parameters of its own in `extra_parameters`.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        refuse_unknown_parameters(request, set(_known_parameters(request, queryset, view)))
        asked = request.query_params.get("ordering")
        if asked is None:
            return queryset
        if asked.removeprefix("-") not in _columns(view):
            message = _("Lists can be ordered by: %(columns)s.") % {"columns": ", ".join(_columns(view))}
            raise Invalid("ordering_unknown", message, field="ordering")
        return queryset.order_by(asked)

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        names = [f"{sign}{column}" for column in _columns(view) for sign in ("", "-")]
        return [{"name": "ordering", "in": "query", "schema": {"type": "string", "enum": names}}] if names else []


def _columns(view: APIView) -> tuple[str, ...]:
    return tuple(getattr(view, "ordering_fields", ()))


def refuse_unknown_parameters(request: Request, known: Collection[str]) -> None:
    """Raises `Invalid` (`unknown_parameter`, `unstorable_text`)."""
    for name in request.query_params:
        if name not in known:
            raise Invalid("unknown_parameter", _("There is no such query parameter."), field=name)
        if any("\x00" in value for value in request.query_params.getlist(name)):
            raise Invalid("unstorable_text", _("Contains a NUL character."), field=name)


def _known_parameters(request: Request, queryset: QuerySet[Any], view: APIView) -> Iterator[str]:
    yield from getattr(view, "extra_parameters", ())
    if getattr(view, "action", "list") != "list":
        return
    yield from KeysetPagination.parameters
    yield "ordering"
    if getattr(view, "search_fields", None):
        yield "search"
    filterset = DjangoFilterBackend().get_filterset(request, queryset, view)
    for name, filter_ in filterset.filters.items() if filterset is not None else ():
        suffixes = getattr(filter_.field.widget, "suffixes", None)
        yield from (f"{name}_{suffix}" if suffix else name for suffix in suffixes or [""])
