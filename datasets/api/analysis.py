"""What a dataset is like, what it shares with others, and its parts, over REST."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from datasets.api.serializers import DatasetRowSerializer
from datasets.models import Dataset
from datasets.selectors import access_dataset
from datasets.services import splitting, statistics
from mlops.api.serializers import StrictSerializer
from mlops.api.viewsets import RecordViewSet
from mlops.selectors import not_found

WITH = OpenApiParameter("with", OpenApiTypes.UUID, many=True, description="Look among these datasets only.")
FIELDS = OpenApiParameter(
    "fields", str, description="Fields with commas between them: examples are the same when these agree. Needs `with`."
)


class OverlapSerializer(StrictSerializer):
    dataset_id = serializers.UUIDField()
    name = serializers.CharField()
    type = serializers.CharField()
    version = serializers.IntegerField()
    size = serializers.IntegerField()
    sealed = serializers.BooleanField(help_text="A test set: nothing may be trained on what is in it.")
    shared = serializers.IntegerField(help_text="Different examples that are in both.")
    share = serializers.FloatField(help_text="Of the different examples of the dataset that was asked about.")


class SplitSerializer(StrictSerializer):
    fractions = serializers.DictField(
        child=serializers.FloatField(), help_text='Such as {"training": 0.8, "validation": 0.1, "test": 0.1}.'
    )
    seed = serializers.IntegerField(default=0)
    stratify_by = serializers.CharField(default="", allow_blank=True, help_text="A field that keeps its distribution.")
    name = serializers.CharField(default="", allow_blank=True, help_text="Of the parts; else that of the dataset.")


class DatasetAnalysisActions(RecordViewSet):
    """GET statistics, GET overlap and POST split on a dataset."""

    verbs = {
        "statistics": statistics.compute_statistics,
        "overlap": statistics.overlap,
        "split": splitting.split_dataset,
    }
    writes = {"split": SplitSerializer}
    answers = {"split": DatasetRowSerializer, "overlap": OverlapSerializer}

    @extend_schema(responses=OpenApiTypes.OBJECT)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True)
    def statistics(self, request: Request, pk: str) -> Response:
        """Duplicates, and per field types, missing and different values, distributions, labels and their majority."""
        return Response(statistics.compute_statistics(actor=self.actor, dataset=self.get_object()))

    @extend_schema(parameters=[WITH, FIELDS], responses=OverlapSerializer(many=True))  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, filter_backends=[], pagination_class=None)
    def overlap(self, request: Request, pk: str) -> Response:
        """Datasets that have examples of this one; test sets are named as sealed."""
        found = statistics.overlap(
            actor=self.actor,
            dataset=self.get_object(),
            others=self._named(request.query_params.getlist("with")),
            fields=[name for name in request.query_params.get("fields", "").split(",") if name],
        )
        return Response([asdict(row) for row in found])

    @extend_schema(responses={201: DatasetRowSerializer(many=True)})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def split(self, request: Request, pk: str) -> Response:
        """Parts of the dataset as next versions, by content and seed alone; equal examples stay together."""
        parts = splitting.split_dataset(actor=self.actor, dataset=self.get_object(), **self.arguments())
        return Response(self.get_serializer(parts, many=True).data, 201)

    def _named(self, ids: list[str]) -> list[Dataset] | None:
        if not ids:
            return None
        return [access_dataset(actor=self.actor, dataset_id=_uuid(given)) for given in ids]


def _uuid(given: str) -> Any:
    try:
        return serializers.UUIDField().to_internal_value(given)
    except serializers.ValidationError:
        raise not_found(Dataset) from None
