"""Metrics over REST."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from executions.api import metrics_serializers as bodies
from executions.filters import MetricFilter
from executions.models import Metric
from executions.policies import metric_policy
from executions.selectors import access_metric
from executions.services import metrics as services
from executions.services.scoring import kinds_of_metrics
from mlops.api.history import Reverts
from mlops.api.viewsets import Creates, Deletes, Updates
from mlops.models import User
from programs.api.arguments import referred
from programs.selectors import access_language_model, access_program


class MetricViewSet(Creates, Updates, Deletes, Reverts):
    """Metrics. A version is addressed by its id, by `name` (the newest one) or by `name@2`."""

    queryset = Metric.objects.all()
    serializer_class = bodies.MetricSerializer
    list_serializer_class = bodies.MetricRowSerializer
    filterset_class = MetricFilter
    search_fields = ("name", "description")
    ordering_fields = ("name",)
    lookup_value_regex = "[A-Za-z0-9_@-]{1,128}"
    verbs = {
        "create": services.create_metric,
        "partial_update": services.update_metric,
        "destroy": services.delete_metric,
        "new_version": services.new_metric_version,
        "try_out": services.try_metric,
        "freeze": services.freeze_metric,
    }
    writes = {
        "create": bodies.CreateMetricBody,
        "partial_update": bodies.MetricChangesBody,
        "new_version": bodies.MetricChangesBody,
        "try_out": bodies.TryMetricBody,
    }
    answers = {"kinds": bodies.KindBody, "try_out": bodies.ScoreBody}
    makes = ("create", "new_version")

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("config")

    def get_object(self) -> Metric:
        return access_metric(actor=self.actor, ref=self.kwargs["pk"], action=self.right)

    def perform_create(self, fields: dict[str, Any]) -> Metric:
        return services.create_metric(actor=self.actor, **_with_rows(self.actor, fields))

    def perform_update(self, row: Metric, fields: dict[str, Any]) -> Metric:
        return services.update_metric(actor=self.actor, metric=row, **_with_rows(self.actor, fields))

    def perform_destroy(self, row: Metric) -> None:
        services.delete_metric(actor=self.actor, metric=row)

    @action(detail=True, methods=["post"])
    def new_version(self, request: Request, pk: str) -> Response:
        """The next version: a copy with the changes. What was scored keeps the version that it names."""
        metric = self.get_object()
        row = services.new_metric_version(actor=self.actor, metric=metric, **_with_rows(self.actor, self.arguments()))
        return self.answer_made(row)

    @extend_schema(request=None, responses=bodies.MetricSerializer)  # type: ignore[untyped-decorator]  # as below
    @action(detail=True, methods=["post"])
    def freeze(self, request: Request, pk: str) -> Response:
        """Keep it as it is from now on. Whatever scores with a metric freezes it."""
        return self.answer(services.freeze_metric(actor=self.actor, metric=self.get_object()))

    @extend_schema(responses=bodies.ScoreBody)  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"], url_path="try")
    def try_out(self, request: Request, pk: str) -> Response:
        """Score one output for one example, to see the feedback. Nothing is kept; what a judge costs is charged."""
        score = services.try_metric(actor=self.actor, metric=self.get_object(), **self.arguments())
        return Response({"value": score.value, "feedback": score.feedback})

    @extend_schema(responses=bodies.KindBody(many=True))  # type: ignore[untyped-decorator]  # as above
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=[])
    def kinds(self, request: Request) -> Response:
        """Every kind of metric: what it does, a config to begin with, and what its config may hold."""
        metric_policy.check(self.actor, "view")
        return Response(kinds_of_metrics())


def _with_rows(actor: User, given: dict[str, Any]) -> dict[str, Any]:
    """The body with its references resolved."""
    ways: dict[str, Any] = {"judge_program": access_program, "language_model": access_language_model}
    rows = {
        name: referred(name, access, actor=actor, ref=given[name])
        for name, access in ways.items()
        if given.get(name) is not None
    }
    return {**given, **rows}
