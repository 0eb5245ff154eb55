"""Datasets and corpora over REST."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from datasets.api.serializers import (
    CorpusSerializer,
    DatasetRowSerializer,
    DatasetSerializer,
    ExampleRowSerializer,
    ExampleSerializer,
    PassageRowSerializer,
    PassageSerializer,
)
from datasets.filters import CorpusFilter, DatasetFilter, ExampleFilter, PassageFilter
from datasets.models import Corpus, Dataset, Example, Passage
from mlops.api.viewsets import RecordViewSet


class DatasetViewSet(RecordViewSet):
    """Datasets, newest first."""

    queryset = Dataset.objects.all()
    serializer_class = DatasetSerializer
    list_serializer_class = DatasetRowSerializer
    filterset_class = DatasetFilter
    search_fields = ("name", "description")

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("schema", "statistics")


class ExampleViewSet(RecordViewSet):
    """Examples in the order of their dataset; the detail has the data."""

    queryset = Example.objects.order_by("dataset_id", "position")
    serializer_class = ExampleSerializer
    list_serializer_class = ExampleRowSerializer
    filterset_class = ExampleFilter

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("data")


class CorpusViewSet(RecordViewSet):
    """Corpora, newest first."""

    queryset = Corpus.objects.all()
    serializer_class = CorpusSerializer
    filterset_class = CorpusFilter
    search_fields = ("name", "description")


class PassageViewSet(RecordViewSet):
    """Passages in the order of their corpus; the detail has the text."""

    queryset = Passage.objects.order_by("corpus_id", "position")
    serializer_class = PassageSerializer
    list_serializer_class = PassageRowSerializer
    filterset_class = PassageFilter

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("text")
