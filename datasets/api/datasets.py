"""Datasets and their examples over REST."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from datasets import errors, services
from datasets.api.analysis import DatasetAnalysisActions
from datasets.api.imports import ImportActions
from datasets.api.serializers import (
    MAX_INLINE,
    DatasetCreateSerializer,
    DatasetRowSerializer,
    DatasetSerializer,
    DatasetWriteSerializer,
    ExampleRowSerializer,
    ExampleSerializer,
    ExampleWithDataSerializer,
)
from datasets.filters import DatasetFilter, ExampleFilter
from datasets.models import Dataset, Example
from datasets.selectors import access_dataset
from datasets.services.exports import CONTENT_TYPES, export_format, export_name, export_pieces
from mlops.api.history import Reverts
from mlops.api.streams import FRESH_S, StandingRight, actor_of, only, refusing, streamed, while_allowed
from mlops.api.viewsets import Creates, Deletes, RecordViewSet, Updates
from mlops.errors import Invalid, Problem
from mlops.services.database import off_the_loop


class DatasetViewSet(ImportActions, DatasetAnalysisActions, Creates, Updates, Deletes, Reverts):
    """Datasets, newest first."""

    queryset = Dataset.objects.all()
    serializer_class = DatasetSerializer
    list_serializer_class = DatasetRowSerializer
    filterset_class = DatasetFilter
    search_fields = ("name", "description")
    verbs = {
        **ImportActions.verbs,
        **DatasetAnalysisActions.verbs,
        "create": services.create_dataset,
        "partial_update": services.update_dataset,
        "destroy": services.delete_dataset,
        "freeze": services.freeze_dataset,
    }
    writes = {
        **ImportActions.writes,
        **DatasetAnalysisActions.writes,
        "create": DatasetCreateSerializer,
        "partial_update": DatasetWriteSerializer,
    }
    answers = {**ImportActions.answers, **DatasetAnalysisActions.answers}

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("schema", "statistics")

    def perform_create(self, fields: dict[str, Any]) -> Any:
        with _examples_are_data():
            return services.create_dataset(actor=self.actor, examples=_inline(fields.pop("data")), **fields)

    def perform_update(self, row: Any, fields: dict[str, Any]) -> Any:
        examples = _inline(fields.pop("data")) if "data" in fields else None
        with _examples_are_data():
            return services.update_dataset(actor=self.actor, dataset=row, examples=examples, **fields)

    def perform_destroy(self, row: Any) -> None:
        services.delete_dataset(actor=self.actor, dataset=row)

    @extend_schema(request=None, responses=DatasetSerializer)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def freeze(self, request: Request, pk: str) -> Response:
        """Keep schema and examples as they are from now on. Whatever uses a dataset freezes it."""
        return self.answer(services.freeze_dataset(actor=self.actor, dataset=self.get_object()))


WITH_DATA = OpenApiParameter("data", bool, description="Whether the rows of the list have their data too.")


@extend_schema_view(list=extend_schema(parameters=[WITH_DATA], responses=ExampleWithDataSerializer(many=True)))
class ExampleViewSet(RecordViewSet):
    """Examples in the order of their dataset; the detail has the data, and so has the list with `data=true`."""

    queryset = Example.objects.order_by("dataset_id", "position")
    serializer_class = ExampleSerializer
    filterset_class = ExampleFilter
    extra_parameters = ("data",)

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows if self._has_data() else rows.defer("data")

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        if self.action == "list":
            return ExampleWithDataSerializer if self._has_data() else ExampleRowSerializer
        return super().get_serializer_class()

    def _has_data(self) -> bool:
        asked = self.request.query_params.get("data", "false")
        if asked not in ("true", "false"):
            raise Invalid("invalid_choice", _("Expected true or false."), field="data")
        return asked == "true"


@refusing
async def export(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """GET a dataset as a file, `?as=csv|tsv|json|jsonl|parquet`, sent while it is read."""
    if request.method != "GET":
        return only("GET", request.method)
    actor = await actor_of(request, younger_than_s=FRESH_S)
    dataset = await off_the_loop(lambda: access_dataset(actor=actor, dataset_id=pk))
    format = export_format(request.GET.get("as", "csv"))
    if dataset.state != "ready":
        raise errors.dataset_importing()
    right = StandingRight(request, lambda reader: access_dataset(actor=reader, dataset_id=pk))
    response = streamed(while_allowed(right, export_pieces(dataset, format)), CONTENT_TYPES[format])
    response.headers["Content-Disposition"] = f'attachment; filename="{export_name(dataset, format)}"'
    return response


def _inline(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(data) > MAX_INLINE:
        raise errors.too_many_inline("data", MAX_INLINE)
    return data


@contextmanager
def _examples_are_data() -> Iterator[None]:
    """On the wire the examples are called `data`, and so is the path of what is wrong with one."""
    try:
        yield
    except Invalid as error:
        problems = [Problem(item.code, item.message, _on_the_wire(item.field)) for item in error.problems]
        raise Invalid(
            error.code, error.message, field=_on_the_wire(error.field), problems=problems, extra=error.extra
        ) from None


def _on_the_wire(field: str) -> str:
    head, dot, rest = field.partition(".")
    return f"data{dot}{rest}" if head == "examples" else field
