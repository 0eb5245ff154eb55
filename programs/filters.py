"""By what lists of this app are filtered, on every edge."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from programs.models import Deployment, Module, ModuleConnection, Program, PromptSet, PromptVersion, Signature
from programs.models.programs import KIND_CHOICES, STATUS_CHOICES


class ProgramFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    name = filters.CharFilter()
    version = filters.NumberFilter()
    status = filters.ChoiceFilter(choices=STATUS_CHOICES)
    group = filters.CharFilter(field_name="group__name")

    class Meta:
        model = Program
        fields: tuple[str, ...] = ()


class SignatureFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    name = filters.CharFilter()
    version = filters.NumberFilter()
    frozen = filters.BooleanFilter(field_name="frozen_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = Signature
        fields: tuple[str, ...] = ()


class ModuleFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    program = filters.UUIDFilter(field_name="program_id")
    signature = filters.UUIDFilter(field_name="signature_id")
    language_model = filters.UUIDFilter(field_name="language_model_id")
    kind = filters.ChoiceFilter(choices=KIND_CHOICES)
    key = filters.CharFilter()

    class Meta:
        model = Module
        fields: tuple[str, ...] = ()


class ConnectionFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    program = filters.UUIDFilter(field_name="program_id")

    class Meta:
        model = ModuleConnection
        fields: tuple[str, ...] = ()


class PromptVersionFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    module = filters.UUIDFilter(field_name="module_id")
    program = filters.UUIDFilter(field_name="module__program_id")
    version = filters.CharFilter()
    active = filters.BooleanFilter(field_name="traffic_percentage", method="by_activity")

    def by_activity(self, rows: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:
        return rows.exclude(traffic_percentage=0) if value else rows.filter(traffic_percentage=0)

    class Meta:
        model = PromptVersion
        fields: tuple[str, ...] = ()


class PromptSetFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    program = filters.UUIDFilter(field_name="program_id")

    class Meta:
        model = PromptSet
        fields: tuple[str, ...] = ()


class DeploymentFilter(filters.FilterSet):  # type: ignore[misc]  # django-filter has no types
    program = filters.UUIDFilter(field_name="program_id")
    name = filters.CharFilter(field_name="program__name")

    class Meta:
        model = Deployment
        fields: tuple[str, ...] = ()
