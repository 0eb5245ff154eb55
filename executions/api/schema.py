"""What the OpenAPI document says about the plain async views, which its generator cannot see."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from executions.api.serializers import ExecuteWriteSerializer, ExecutionSerializer

HEADERS = [
    OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="Makes the request happen once."),
    OpenApiParameter("Prefer", str, OpenApiParameter.HEADER, description="`wait=N`: answer after N seconds at most."),
]


class ExecuteDocumented(APIView):
    """Execute a program."""

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="programs_execute",
        request=ExecuteWriteSerializer,
        parameters=HEADERS,
        responses={
            200: OpenApiResponse(ExecutionSerializer, "The execution has ended; `state` and `error` say how."),
            202: OpenApiResponse(ExecutionSerializer, "It is pending or running; poll `Location`."),
            402: OpenApiResponse(OpenApiTypes.OBJECT, "Credits do not cover it."),
        },
    )
    def post(self, request: Request, ref: str) -> Response:
        """Run a program version on one input, synchronously or through a worker."""
        raise AssertionError("documentation only")


class EventsDocumented(APIView):
    """Changes of an execution."""

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="executions_events",
        parameters=[
            OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER, description="Revision to go on from.")
        ],
        responses={(200, "text/event-stream"): OpenApiTypes.STR},
    )
    def get(self, request: Request, id: str) -> Response:
        """Server-sent events: one `state` event per change, the present state first."""
        raise AssertionError("documentation only")


def add_async_views(endpoints: list[tuple[str, str, str, Any]], **context: Any) -> list[tuple[str, str, str, Any]]:
    """Preprocessing hook of drf-spectacular."""
    execute, events = "/api/v1/programs/{ref}/execute/", "/api/v1/executions/{id}/events/"
    return [
        *endpoints,
        (execute, execute, "POST", ExecuteDocumented.as_view()),
        (events, events, "GET", EventsDocumented.as_view()),
    ]
