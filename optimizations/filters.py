"""By what lists of this app are filtered, on every edge."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet

from mlops.filters import AnyOfFilter
from mlops.models.jobs import STATE_CHOICES
from optimizations.models import Candidate, Optimization, Schedule
from optimizations.models.schedules import VERB_CHOICES
from optimizations.types import OptimizerName


class OptimizationFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    """`program` is a program's id or name."""

    program = django_filters.CharFilter(method="of_program")
    state = AnyOfFilter(choices=STATE_CHOICES)
    optimizer = django_filters.ChoiceFilter(choices=[(name.value, name.value) for name in OptimizerName])
    dataset = django_filters.UUIDFilter(field_name="dataset_id")
    metric = django_filters.UUIDFilter(field_name="metric_id")
    user = django_filters.UUIDFilter(field_name="user_id")
    is_better = django_filters.BooleanFilter()
    source = django_filters.UUIDFilter(field_name="source_id")

    class Meta:
        model = Optimization
        fields: list[str] = []

    def of_program(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        try:
            return rows.filter(program_id=UUID(value))
        except ValueError:
            return rows.filter(program__name=value)


class CandidateFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    optimization = django_filters.UUIDFilter(field_name="optimization_id")
    is_best = django_filters.BooleanFilter()

    class Meta:
        model = Candidate
        fields: list[str] = []


class ScheduleFilter(django_filters.FilterSet):  # type: ignore[misc]  # django-filter ships no types
    verb = django_filters.ChoiceFilter(choices=VERB_CHOICES)
    is_enabled = django_filters.BooleanFilter()
    user = django_filters.UUIDFilter(field_name="user_id")

    class Meta:
        model = Schedule
        fields: tuple[str, ...] = ()
