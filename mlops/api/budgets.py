"""`/budgets/`: limits on what may be spent, how far they are used up, and their past periods."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.history import Reverts
from mlops.api.serializers import DecimalStringField, RecordSerializer, StrictSerializer
from mlops.api.viewsets import Creates, Deletes, Updates
from mlops.filters import BudgetFilter
from mlops.models import Budget, LanguageModel, User
from mlops.models.budgets import PERIOD_CHOICES, SCOPE_CHOICES
from mlops.selectors import access
from mlops.selectors.budgets import Standing, periods_of, standing_in, standing_of, with_standing
from mlops.services.budgets import create_budget, delete_budget, update_budget
from mlops.types import PICO_PER_USD


def usd_field(**options: Any) -> DecimalStringField:
    """Pico-dollars as a decimal string of dollars."""
    return DecimalStringField(scale=PICO_PER_USD, **{"help_text": "Dollars.", **options})


class StandingSerializer(serializers.Serializer[Standing]):
    starts_at = serializers.DateTimeField()
    resets_at = serializers.DateTimeField()
    spent = usd_field()
    left = usd_field()
    in_doubt = usd_field(help_text="Counted as spent: reserved by processes that disappeared.")
    held = usd_field(help_text="Held by open slices beyond what they have told of.")
    reserved = usd_field(help_text="The part of it that is under way.")
    open_slices = serializers.IntegerField()
    percent = serializers.IntegerField()
    is_blocked = serializers.BooleanField(help_text="Whether nothing is left: whatever is not free is refused.")
    forecast = usd_field(allow_null=True, help_text="Spent at the end if it goes on like this; null in the first hour.")
    unpriced = serializers.IntegerField(help_text="Executions with a call whose price nobody knows: they count as 0.")
    warned_at = serializers.DateTimeField(allow_null=True)
    blocked_at = serializers.DateTimeField(allow_null=True, help_text="When work was first refused.")


class PeriodicBudgetSerializer(RecordSerializer):
    limit = usd_field(read_only=True)
    present = serializers.SerializerMethodField()

    class Meta:
        model = Budget
        fields: tuple[str, ...] = (
            "id",
            "scope",
            "user",
            "program",
            "language_model",
            "period",
            "limit",
            "warn_percent",
            "is_enabled",
            "present",
            "created_at",
            "updated_at",
        )

    @extend_schema(responses=StandingSerializer)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    def get_present(self, budget: Budget) -> Any:
        return StandingSerializer(standing_of(budget)).data


class UpdateBudgetSerializer(StrictSerializer):
    limit = usd_field(required=False)
    warn_percent = serializers.IntegerField(required=False, min_value=1, max_value=100)
    is_enabled = serializers.BooleanField(required=False)


class CreateBudgetSerializer(UpdateBudgetSerializer):
    scope = serializers.ChoiceField(SCOPE_CHOICES)
    user = serializers.UUIDField(required=False, allow_null=True)
    program = serializers.CharField(required=False, allow_blank=True, max_length=63, help_text="Its name.")
    language_model = serializers.UUIDField(required=False, allow_null=True)
    period = serializers.ChoiceField(PERIOD_CHOICES)
    limit = usd_field()


class BudgetViewSet(Creates, Updates, Deletes, Reverts):
    """Limits per UTC day or month on the spending of a user, a program, a language model or the whole installation.

    Admins write them, engineers read all, everybody those on their own spending. All processes heed a change within
    five seconds.
    """

    queryset = Budget.objects.all()
    serializer_class = PeriodicBudgetSerializer
    filterset_class = BudgetFilter
    verbs = {"create": create_budget, "partial_update": update_budget, "destroy": delete_budget}
    writes = {"create": CreateBudgetSerializer, "partial_update": UpdateBudgetSerializer}

    def get_queryset(self) -> QuerySet[Any]:
        return with_standing(super().get_queryset())

    def perform_create(self, fields: dict[str, Any]) -> Budget:
        for name, model in (("user", User), ("language_model", LanguageModel)):
            if key := fields.pop(name, None):
                fields[name] = access(model, actor=self.actor, id=key)
        return create_budget(actor=self.actor, **fields)

    def perform_update(self, row: Budget, fields: dict[str, Any]) -> Budget:
        return update_budget(actor=self.actor, budget=row, fields=fields)

    def perform_destroy(self, row: Budget) -> None:
        delete_budget(actor=self.actor, budget=row)

    @extend_schema(responses=StandingSerializer(many=True))  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, filter_backends=[])
    def periods(self, request: Request, pk: str) -> Response:
        """Its periods in which something was asked of it, newest first, against the present limit."""
        budget = self.get_object()
        page = self.paginate_queryset(periods_of(budget)) or []
        standings: Any = [standing_in(period, budget) for period in page]
        return self.get_paginated_response(StandingSerializer(standings, many=True).data)
