"""Optimizations over REST: ask for one, watch it, stop it, look at its candidates."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.models import Dataset
from datasets.selectors import access_dataset
from executions.selectors import access_metric
from mlops.api.documented import ONCE, location_of
from mlops.api.streams import detail_view, events_view
from mlops.api.viewsets import RecordViewSet
from mlops.errors import named_as_in
from mlops.models import User
from mlops.querysets import Viewer
from optimizations import services
from optimizations.api import serializers as bodies
from optimizations.filters import CandidateFilter, OptimizationFilter
from optimizations.models import Candidate, Optimization
from optimizations.policies import optimization_policy
from optimizations.representation import in_detail
from optimizations.selectors import JOINED, access_optimization, offered_optimizers, optimizers_not_offered
from optimizations.types import Budget
from programs.api.arguments import referred
from programs.api.serializers import ProgramSerializer
from programs.selectors import access_language_model, access_program

LOCATION = location_of("it")


class CompileViewSet(RecordViewSet):
    """POST compile on a program, and what that would take."""

    queryset = Optimization.objects.none()
    serializer_class = bodies.OptimizationSerializer
    verbs = {"start": services.compile_program, "estimate": services.estimate_optimization}
    writes = {"start": bodies.CompileWriteSerializer, "estimate": bodies.CompileWriteSerializer}
    answers = {"estimate": bodies.EstimateSerializer}

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="programs_compile",
        tags=["optimizations"],
        parameters=[ONCE, LOCATION],
        responses={202: bodies.OptimizationSerializer},
    )
    def start(self, request: Request, ref: str) -> Response:
        """Have a worker look for better prompts of the program; poll `Location`.

        The result is a draft version of the program, evaluated before and after on the validation set.
        """
        key = request.headers.get("Idempotency-Key", "")
        asked = self._asked(ref)
        with named_as_in(bodies.COMPILE_NAMES):
            row = services.compile_program(**asked, idempotency_key=key)
        row = access_optimization(actor=self.actor, optimization_id=row.pk, action=None)
        location = request.build_absolute_uri(f"/api/v1/optimizations/{row.pk}/")
        return Response(in_detail(row), status=status.HTTP_202_ACCEPTED, headers={"Location": location})

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="programs_compile_estimate", tags=["optimizations"], responses={200: bodies.EstimateSerializer}
    )
    def estimate(self, request: Request, ref: str) -> Response:
        """Calls, tokens, cost and time of a compile, each between two bounds. Nothing is started."""
        asked = self._asked(ref)
        with named_as_in(bodies.COMPILE_NAMES):
            estimate = services.estimate_optimization(**asked)
        return Response(self.get_serializer(estimate).data)

    def _asked(self, ref: str) -> dict[str, Any]:
        """The body as the service takes it; what it names are rows that the actor may see."""
        program = access_program(actor=self.actor, ref=ref)
        given = self.arguments()
        optimizer, budget = given["optimizer"], given.get("budget")
        model = given.get("prompt_model")
        return {
            "actor": self.actor,
            "program": program,
            "dataset": referred("dataset_id", _dataset, actor=self.actor, ref=given["dataset"]),
            "metric": referred("metric", access_metric, actor=self.actor, ref=given["metric"]),
            "optimizer": optimizer["name"],
            "params": optimizer.get("params", {}),
            "validation_set": given.get("validation_set")
            and referred("validation_set_id", _dataset, actor=self.actor, ref=given["validation_set"]),
            "budget": None if budget is None else Budget.from_json(budget),
            "seed": given.get("seed", 0),
            "prompt_model": model and referred("prompt_model", access_language_model, actor=self.actor, ref=model),
        }


class OptimizationViewSet(RecordViewSet):
    """Optimizations that the actor may see, newest first."""

    queryset = Optimization.objects.select_related(*JOINED)
    serializer_class = bodies.OptimizationSerializer
    list_serializer_class = bodies.OptimizationRowSerializer
    filterset_class = OptimizationFilter
    ordering_fields = ("id",)
    verbs = {"cancel": services.cancel_optimization}
    writes = {"cancel": bodies.EmptyBody}

    def in_list(self, rows: Any) -> Any:
        return rows.light()

    @extend_schema(responses={200: bodies.OptimizationSerializer, 202: bodies.OptimizationSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop an optimization. A pending one is cancelled at once, a running one within one model call: poll it.

        What it has found stays as candidates.
        """
        row = self.get_object()
        self.arguments()
        services.cancel_optimization(actor=self.actor, optimization=row)
        row = self.get_object()
        code = status.HTTP_200_OK if row.is_terminal else status.HTTP_202_ACCEPTED
        return Response(in_detail(row), status=code)


class CandidateViewSet(RecordViewSet):
    """What optimizations tried; the detail has instructions and demos."""

    queryset = Candidate.objects.all()
    serializer_class = bodies.CandidateSerializer
    list_serializer_class = bodies.CandidateRowSerializer
    filterset_class = CandidateFilter
    ordering_fields = ("id",)
    verbs = {"adopt": services.adopt_candidate}
    writes = {"adopt": bodies.EmptyBody}
    answers = {"adopt": ProgramSerializer}
    makes = ("adopt",)

    def in_list(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.defer("state")

    @action(detail=True, methods=["post"])
    def adopt(self, request: Request, pk: str) -> Response:
        """Make a draft version of the program with the prompts of this candidate."""
        candidate = self.get_object()
        self.arguments()
        row = services.adopt_candidate(actor=self.actor, candidate=candidate)
        return self.answer_made(row, f"/api/v1/programs/{row.pk}/")


class OptimizersView(APIView):
    """The optimizers of this installation."""

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="optimizers_list", tags=["optimizations"], responses=bodies.OptimizersSerializer
    )
    def get(self, request: Request) -> Response:
        """Every optimizer with its parameters, and those of DSPy that are not offered with the reason."""
        optimization_policy.check(request.user, "view")
        not_offered = [{"name": name, "reason": why} for name, why in optimizers_not_offered().items()]
        return Response({"optimizers": offered_optimizers(), "not_offered": not_offered})


def _dataset(*, actor: Viewer, ref: UUID) -> Dataset:
    return access_dataset(actor=actor, dataset_id=ref)


def _access(actor: User, pk: UUID) -> Optimization:
    return access_optimization(actor=actor, optimization_id=pk)


detail = detail_view(Optimization, _access, in_detail)
events = events_view(Optimization, _access)
