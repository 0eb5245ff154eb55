"""Evaluations over REST: ask for one, watch it, stop it, look at its items, hold it against another one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from datasets.models import Dataset
from datasets.selectors import access_dataset
from executions import evaluation_representation as shown
from executions.api import evaluation_serializers as bodies
from executions.filters import EvaluationFilter, EvaluationItemFilter
from executions.models import Evaluation, EvaluationItem
from executions.representation import with_usd
from executions.selectors import access_evaluation, access_metric
from executions.services import cancel_evaluation, compare_evaluations, estimate_evaluation, evaluate_program
from mlops.api.documented import ONCE, location_of, refused
from mlops.api.streams import detail_view, events_view
from mlops.api.viewsets import RecordViewSet
from mlops.errors import named_as_in
from mlops.models import User
from mlops.querysets import Viewer
from mlops.selectors import access
from mlops.services.idempotency import once
from programs.api.arguments import referred
from programs.api.bodies import EmptyBody
from programs.models import Program, PromptSet
from programs.selectors import access_language_model, access_program

LOCATION = location_of("it")


class EvaluateViewSet(RecordViewSet):
    """POST evaluate on a program, and what that would take."""

    queryset = Evaluation.objects.none()
    serializer_class = bodies.EvaluationSerializer
    verbs = {"start": evaluate_program, "estimate": estimate_evaluation}
    writes = {"start": bodies.EvaluateWriteSerializer, "estimate": bodies.EvaluateWriteSerializer}
    answers = {"estimate": bodies.EvaluationEstimateSerializer}

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="programs_evaluate",
        tags=["evaluations"],
        parameters=[ONCE, LOCATION],
        responses={202: bodies.EvaluationSerializer},
    )
    def start(self, request: Request, ref: str) -> Response:
        """Have workers score the program on all examples of a dataset version; poll `Location`."""
        program = access_program(actor=self.actor, ref=ref)
        given = self.arguments()
        key = request.headers.get("Idempotency-Key", "")
        asked = self._asked(program, given)
        with named_as_in(bodies.EVALUATE_NAMES):
            row, _is_repeated = once(
                lambda: evaluate_program(**asked),
                Evaluation,
                actor=self.actor,
                key=key,
                content=["evaluate", ref, given],
            )
        row = access_evaluation(actor=self.actor, evaluation_id=row.pk, action=None)
        location = request.build_absolute_uri(f"/api/v1/evaluations/{row.pk}/")
        return Response(shown.in_detail(row), status=status.HTTP_202_ACCEPTED, headers={"Location": location})

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="programs_evaluate_estimate",
        tags=["evaluations"],
        responses={200: bodies.EvaluationEstimateSerializer},
    )
    def estimate(self, request: Request, ref: str) -> Response:
        """Calls, tokens, cost and time of an evaluation, each between two bounds. Nothing is started."""
        program = access_program(actor=self.actor, ref=ref)
        asked = self._asked(program, self.arguments())
        with named_as_in(bodies.EVALUATE_NAMES):
            estimate = estimate_evaluation(**asked)
        return Response(with_usd(estimate.as_json()))

    def _asked(self, program: Program, given: dict[str, Any]) -> dict[str, Any]:
        """The body as the service takes it; what it names are rows that the actor may see."""
        asked: dict[str, Any] = {
            "actor": self.actor,
            "program": program,
            "dataset": referred("dataset_id", _dataset, actor=self.actor, ref=given["dataset"]),
            "metrics": [
                referred(f"metrics.{position}", access_metric, actor=self.actor, ref=one)
                for position, one in enumerate(given["metrics"])
            ],
            "concurrency": given["concurrency"],
            "budget": given.get("budget"),
        }
        for name, find in (("language_model", access_language_model), ("prompt_set", _prompt_set)):
            if given.get(name) is not None:
                asked[name] = referred(name, find, actor=self.actor, ref=given[name])
        return asked


class EvaluationViewSet(RecordViewSet):
    """Evaluations that the actor may see, newest first."""

    queryset = Evaluation.objects.select_related("program", "dataset").prefetch_related("scores__metric")
    serializer_class = bodies.EvaluationSerializer
    list_serializer_class = bodies.EvaluationRowSerializer
    filterset_class = EvaluationFilter
    ordering_fields = ("id",)
    extra_parameters = ("with", "metric")
    verbs = {"cancel": cancel_evaluation, "compare": compare_evaluations}
    writes = {"cancel": EmptyBody}

    def in_list(self, rows: Any) -> Any:
        return rows.light()

    @extend_schema(responses={200: bodies.EvaluationSerializer, 202: bodies.EvaluationSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop an evaluation: at once while nobody works on it, else within one model call; poll it.

        What was scored until then stays.
        """
        row = self.get_object()
        self.arguments()
        row = cancel_evaluation(actor=self.actor, evaluation=row)
        code = status.HTTP_200_OK if row.is_terminal else status.HTTP_202_ACCEPTED
        return Response(shown.in_detail(row), status=code)

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[
            OpenApiParameter("with", str, required=True, description="Id of the evaluation to hold it against."),
            OpenApiParameter("metric", str, description="By id, name or name@version; where there are several."),
        ],
        responses={
            200: bodies.ComparisonSerializer,
            **refused(409, "`evaluations_not_comparable`, with the reason."),
        },
    )
    @action(detail=True, methods=["get"], filterset_class=None)
    def compare(self, request: Request, pk: str) -> Response:
        """This evaluation minus another one, pair by pair, with an interval, a p-value, costs and times."""
        candidate = self.get_object()
        other = request.query_params.get("with", "")
        found = compare_evaluations(
            actor=self.actor,
            baseline=referred("with", _evaluation, actor=self.actor, ref=other),
            candidate=candidate,
            metric=request.query_params.get("metric") or None,
        )
        return Response(shown.comparison(found))


class EvaluationItemViewSet(RecordViewSet):
    """Items of evaluations; the detail has example, output and trace."""

    queryset = EvaluationItem.objects.all()
    serializer_class = bodies.EvaluationItemSerializer
    list_serializer_class = bodies.EvaluationItemRowSerializer
    filterset_class = EvaluationItemFilter
    ordering_fields = ("id",)

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("output", "trace", "token_usage")

    def get_queryset(self) -> QuerySet[Any]:
        rows = super().get_queryset()
        return rows if self.action == "list" else rows.select_related("example")


def _dataset(*, actor: Viewer, ref: UUID) -> Dataset:
    return access_dataset(actor=actor, dataset_id=ref)


def _prompt_set(*, actor: Viewer, ref: UUID) -> PromptSet:
    return access(PromptSet, actor=actor, id=ref)


def _evaluation(*, actor: Viewer, ref: str) -> Evaluation:
    return access(Evaluation, actor=actor, id=ref)


def _access(actor: User, pk: UUID) -> Evaluation:
    return access_evaluation(actor=actor, evaluation_id=pk)


detail = detail_view(Evaluation, _access, shown.in_detail)
events = events_view(Evaluation, _access)
