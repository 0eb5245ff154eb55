"""REST of executions.

Execute, wait and events are plain async views: whoever waits there holds no thread. The rest is the house's viewset.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from executions.api.execute import reply_to
from executions.api.lineage import LineageSerializer
from executions.api.schema import NOT_COVERED
from executions.api.serializers import (
    ExecutionRowSerializer,
    ExecutionSerializer,
    FeedbackSerializer,
    RefundWriteSerializer,
    ReplayWriteSerializer,
)
from executions.api.streaming import EVENTS, event_stream, wants_events
from executions.filters import ExecutionFilter, FeedbackFilter
from executions.models import Execution, Feedback
from executions.representation import in_detail
from executions.selectors import access_execution
from executions.selectors.lineage import lineage_of
from executions.services import process
from executions.services.cancel import cancel_execution
from executions.services.feedback import rate_execution
from executions.services.refund import refund_execution
from executions.services.replay import replay_execution
from executions.types import Source
from mlops.api.bodies import read_body
from mlops.api.credits import CreditEntrySerializer, ledger_key
from mlops.api.documented import ONCE
from mlops.api.streams import (
    FRESH_S,
    RECHECK_S,
    StandingRight,
    actor_by_now,
    actor_of,
    detail_view,
    events_view,
    only,
    refusing,
    streamed,
)
from mlops.api.threads import give_back_thread
from mlops.api.viewsets import Creates, RecordViewSet
from mlops.models import User


@refusing
async def execute(request: HttpRequest, ref: str) -> HttpResponseBase:
    """POST execute for sessions, and for whoever does not come through the lean route."""
    began = time.perf_counter()
    if request.method != "POST":
        return only("POST", request.method)
    headers = {name.lower(): value for name, value in request.headers.items()}
    is_stream = wants_events(headers.get("accept", ""))
    here, actor = (
        await process.aensure_started(),
        await actor_of(request, younger_than_s=FRESH_S if is_stream else None),
    )
    raw = read_body(request)
    give_back_thread()
    if is_stream:
        events = await event_stream(
            actor=actor, reference=ref, raw=raw, headers=headers, right_of=partial(StandingRight, request)
        )
        response = streamed(events, EVENTS)
        for name, value in events.headers.items():
            response.headers[name] = value
        return response
    reply = await here.awaited(reply_to(actor=actor, reference=ref, raw=raw, headers=headers, began=began))
    if time.perf_counter() - began > RECHECK_S:
        await actor_by_now(request)
    return HttpResponse(reply.body, status=reply.status, headers=reply.headers)


def _access(actor: User, pk: UUID) -> Execution:
    return access_execution(actor=actor, execution_id=pk)


detail = detail_view(Execution, _access, in_detail)
events = events_view(Execution, _access)


class ExecutionViewSet(RecordViewSet):
    """Executions that the actor may see, newest first; lists leave input, output and trace out."""

    queryset = Execution.objects.select_related("program", "user")
    serializer_class = ExecutionSerializer
    list_serializer_class = ExecutionRowSerializer
    filterset_class = ExecutionFilter
    ordering_fields = ("id",)
    verbs = {"cancel": cancel_execution, "replay": replay_execution, "refund": refund_execution}
    writes = {"replay": ReplayWriteSerializer, "refund": RefundWriteSerializer}
    answers = {"refund": CreditEntrySerializer}

    def in_list(self, rows: Any) -> Any:
        return rows.light()

    @extend_schema(responses={200: ExecutionSerializer, 202: ExecutionSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop an execution. A pending one is cancelled at once, a running one within one model call: poll it."""
        execution = cancel_execution(actor=self.actor, execution=self.get_object())
        code = status.HTTP_200_OK if execution.is_terminal else status.HTTP_202_ACCEPTED
        return Response(in_detail(execution), status=code)

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[ONCE], responses={202: ExecutionSerializer, **NOT_COVERED}
    )
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str) -> Response:
        """Execute the same input again, asynchronously, on the same or another version of a program."""
        execution = self.get_object()
        arguments = self.arguments()
        key = request.headers.get("Idempotency-Key", "")
        execution = replay_execution(
            actor=self.actor,
            execution=execution,
            program=arguments.get("program"),
            source=Source.REST,
            idempotency_key=key,
        )
        location = request.build_absolute_uri(f"/api/v1/executions/{execution.pk}/")
        return Response(in_detail(execution), status=status.HTTP_202_ACCEPTED, headers={"Location": location})

    @extend_schema(responses={200: LineageSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["get"], filterset_class=None, pagination_class=None)
    def lineage(self, request: Request, pk: str) -> Response:
        """What the execution came from, as far as you may see it: program and prompt versions, the examples behind
        their demos, compile jobs, datasets, metrics, prices and the parameters of the language models."""
        lineage = lineage_of(actor=self.actor, execution=self.get_object())
        return Response(LineageSerializer(lineage, context={"lineage": lineage}).data)

    @extend_schema(parameters=[ONCE], responses={200: CreditEntrySerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def refund(self, request: Request, pk: str) -> Response:
        """Give back what the execution charged, or `credits` of it; the same `Idempotency-Key` gives it back once."""
        execution = self.get_object()
        fields = self.arguments()
        line = refund_execution(
            actor=self.actor,
            execution=execution,
            amount=fields["credits"],
            key=ledger_key("refund", self.actor, request),
            note=fields["note"],
        )
        return self.answer(line)


class FeedbackViewSet(Creates):
    """Named scores on executions that the actor may see."""

    queryset = Feedback.objects.all()
    serializer_class = FeedbackSerializer
    filterset_class = FeedbackFilter
    ordering_fields = ("id",)
    verbs = {"create": rate_execution}
    writes = {"create": FeedbackSerializer}

    def perform_create(self, fields: dict[str, Any]) -> Any:
        execution = access_execution(actor=self.actor, execution_id=fields.pop("execution_id"), action="rate")
        return rate_execution(actor=self.actor, execution=execution, **fields)
