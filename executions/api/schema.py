"""What the OpenAPI document says about the plain async views, which its generator cannot see."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from executions.api.evaluation_serializers import EvaluationSerializer
from executions.api.repricings import RepricingSerializer
from executions.api.serializers import ExecuteWriteSerializer, ExecutionSerializer
from mlops.api.documented import EVENT, EVENTS, ONCE, Endpoint, documented, in_place, refused, watched

ENDED, UNDERWAY = [200], [200, 202]


def _sent(name: str, description: str, kind: Any = str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=description)


def _answered(name: str, description: str, statuses: list[int], kind: Any = str) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=description, response=statuses)


EXECUTE_HEADERS = [
    ONCE,
    _sent("Prefer", "`wait=N`: answer after N seconds at most, with the execution as it is then. Not for streams."),
    _sent("Accept", "`text/event-stream`: what comes of the execution is sent as it comes."),
    _answered("Location", "Where the execution is to be polled.", UNDERWAY),
    _answered("X-Execution-Id", "The execution's id.", UNDERWAY, OpenApiTypes.UUID),
    _answered("X-Cache", "`hit`, `miss` or `bypass`.", UNDERWAY),
    _answered("X-Credits-Remaining", "Credits of whoever executed, a decimal string.", UNDERWAY),
    _answered("Idempotent-Replayed", "`true` when an earlier request with this key made the execution.", UNDERWAY),
    _answered("X-Cost-USD", "A decimal string, or `unknown` when a price is unknown.", ENDED),
    _answered("X-Overhead-Ms", "Milliseconds that were not spent waiting for a language model.", ENDED, float),
]
REFERENCE = OpenApiParameter(
    "ref",
    str,
    OpenApiParameter.PATH,
    description="An id, `name`, `name@production`, `name@testing`, `name@latest`, `name@3`.",
)


NOT_COVERED = refused(402, "`insufficient_credits` or `price_unknown`: nothing was executed.")


class ExecuteDocumented(APIView):
    """Execute a program."""

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="programs_execute",
        tags=["executions"],
        request=ExecuteWriteSerializer,
        parameters=[REFERENCE, *EXECUTE_HEADERS],
        responses={
            200: OpenApiResponse(ExecutionSerializer, "The execution has ended; `state` and `error` say how."),
            EVENTS: EVENT,
            202: OpenApiResponse(ExecutionSerializer, "It is pending or running; poll `Location`."),
            **NOT_COVERED,
            **refused(409, "`idempotency_key_reused`, `program_not_executable`: nothing was executed."),
        },
    )
    def post(self, request: Request, ref: str) -> Response:
        """Run a program version on one input, synchronously or through a worker.

        Whoever accepts `text/event-stream` is sent what comes of it as it comes: events `step` {module, state}, `piece`
        {module, field, text} and at last `result`, the execution. A reader who leaves cancels it.
        """
        raise AssertionError("documentation only")


DOCUMENTED = [
    documented("/api/v1/programs/{ref}/execute/", "POST", ExecuteDocumented),
    *watched("executions", "execution", ExecutionSerializer),
    *watched("evaluations", "evaluation", EvaluationSerializer),
    *watched("repricings", "repricing", RepricingSerializer),
]


def add_async_views(endpoints: list[Endpoint], **context: Any) -> list[Endpoint]:
    """Preprocessing hook of drf-spectacular."""
    return in_place(endpoints, DOCUMENTED)
