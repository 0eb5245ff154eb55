"""Schedules over REST."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.history import Reverts
from mlops.api.serializers import RecordSerializer, StrictSerializer
from mlops.api.viewsets import Creates, Deletes, Updates
from optimizations.filters import ScheduleFilter
from optimizations.models import Schedule
from optimizations.models.schedules import VERB_CHOICES
from optimizations.services import running_schedules, schedules

CRONTAB = "Five fields: minute, hour, day of month, month, day of week, such as `0 6 * * mon`. All of them must match."
ARGUMENTS = (
    "Of compile: program, dataset, metric, optimizer (name, params), and, if wanted, validation_set, budget, seed, "
    "prompt_model. Of evaluate: program, dataset, metrics, and, if wanted, type (training, validation, test), budget, "
    "language_model. A dataset is named by its id, or by its name: then each run takes its newest version."
)


class ScheduleSerializer(RecordSerializer):
    user = serializers.UUIDField(source="user_id", read_only=True)

    class Meta:
        model = Schedule
        fields: tuple[str, ...] = (
            "id",
            "name",
            "user",
            "verb",
            "arguments",
            "crontab",
            "time_zone",
            "is_enabled",
            "deploy_if_better",
            "last_run_at",
            "last_kind",
            "last_id",
            "last_result",
            "last_error",
            "created_at",
            "updated_at",
        )
        read_only_fields = fields


class ScheduleBody(StrictSerializer):
    """What is said of a schedule; whoever sends it becomes its owner."""

    name = serializers.CharField(max_length=63)
    verb = serializers.ChoiceField(choices=VERB_CHOICES)
    arguments = serializers.DictField(help_text=ARGUMENTS)
    crontab = serializers.CharField(max_length=100, help_text=CRONTAB)
    time_zone = serializers.CharField(max_length=64, required=False, help_text="Such as Europe/Berlin; else UTC.")
    is_enabled = serializers.BooleanField(required=False)
    deploy_if_better = serializers.BooleanField(
        required=False, help_text="Deploy the result of a compile that is proven better at 95 %."
    )


class ScheduleViewSet(Creates, Updates, Deletes, Reverts):
    """What is compiled or evaluated again and again, with the rights and at the cost of its owner."""

    queryset = Schedule.objects.order_by("name")
    serializer_class = ScheduleSerializer
    filterset_class = ScheduleFilter
    search_fields = ("name",)
    ordering_fields = ("name", "last_run_at")
    verbs = {
        "create": schedules.create_schedule,
        "partial_update": schedules.change_schedule,
        "destroy": schedules.delete_schedule,
        "run": running_schedules.run_schedule_now,
    }
    writes = {"create": ScheduleBody, "partial_update": ScheduleBody}

    def perform_create(self, fields: dict[str, Any]) -> Schedule:
        return schedules.create_schedule(actor=self.actor, **fields)

    def perform_update(self, row: Schedule, fields: dict[str, Any]) -> Schedule:
        return schedules.change_schedule(actor=self.actor, schedule=row, **fields)

    def perform_destroy(self, row: Schedule) -> None:
        schedules.delete_schedule(actor=self.actor, schedule=row)

    @extend_schema(request=None, responses={202: ScheduleSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def run(self, request: Request, pk: str) -> Response:
        """Start it now, as its owner; `last_kind` and `last_id` name what was started."""
        return self.answer(running_schedules.run_schedule_now(actor=self.actor, schedule=self.get_object()), 202)
