"""By what lists of this app are filtered, on every edge."""

from __future__ import annotations

from django_filters import rest_framework as filters

from datasets.models import TYPE_CHOICES, Corpus, Dataset, Example, Import, Passage
from datasets.models.datasets import VERSION_STATE_CHOICES
from datasets.models.imports import KIND_CHOICES
from mlops.filters import AnyOfFilter
from mlops.models.jobs import STATE_CHOICES


class DatasetFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    name = filters.CharFilter()
    type = filters.ChoiceFilter(choices=TYPE_CHOICES)
    version = filters.NumberFilter()
    state = filters.ChoiceFilter(choices=VERSION_STATE_CHOICES)
    frozen = filters.BooleanFilter(field_name="frozen_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Dataset
        fields: tuple[str, ...] = ()


class ImportFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    kind = filters.ChoiceFilter(choices=KIND_CHOICES)
    state = AnyOfFilter(choices=STATE_CHOICES)
    name = filters.CharFilter()
    dataset = filters.UUIDFilter(field_name="dataset_id")
    corpus = filters.UUIDFilter(field_name="corpus_id")

    class Meta:
        model = Import
        fields: tuple[str, ...] = ()


class CorpusFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    name = filters.CharFilter()
    version = filters.NumberFilter()
    frozen = filters.BooleanFilter(field_name="frozen_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Corpus
        fields: tuple[str, ...] = ()


class ExampleFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    dataset = filters.UUIDFilter(field_name="dataset_id")
    content_hash = filters.CharFilter()

    class Meta:
        model = Example
        fields: tuple[str, ...] = ()


class PassageFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    corpus = filters.UUIDFilter(field_name="corpus_id")

    class Meta:
        model = Passage
        fields: tuple[str, ...] = ()
