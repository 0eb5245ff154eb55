"""What the OpenAPI document says of plain async views, which its generator cannot see, and of what many verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mlops.api.schema import PROBLEM

EVENTS = (200, "text/event-stream")
EVENT = {
    "type": "object",
    "description": "One server-sent event; the document describes each of the stream's.",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}

Endpoint = tuple[str, str, str, Any]
"""Path, the same as a regular expression, method and view, as drf-spectacular takes them."""

ROW_ID = OpenApiParameter("id", OpenApiTypes.UUID, OpenApiParameter.PATH)
WAIT = OpenApiParameter("wait", int, description="Seconds to wait for its end, at most 60.")
LAST_EVENT = OpenApiParameter("Last-Event-ID", int, OpenApiParameter.HEADER, description="The revision to go on from.")
ONCE = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Makes the request happen once: for 24 hours the same key and body give the first answer again.",
)


def refused(status: int, description: str) -> dict[Any, Any]:
    """A refusal that says more than the shared ones do."""
    return {(status, "application/problem+json"): OpenApiResponse({"$ref": PROBLEM}, description)}


def location_of(what: str) -> OpenApiParameter:
    """The header of a 202 that names where `what` is to be polled."""
    description = f"Where {what} is to be polled."
    return OpenApiParameter("Location", str, OpenApiParameter.HEADER, description=description, response=[202])


def documented(path: str, method: str, view: type[APIView]) -> Endpoint:
    return (path, path, method, view.as_view())


def watched(collection: str, what: str, serializer: Any, *, changes: str = "change") -> list[Endpoint]:
    """The detail of a row of `collection`, which can be waited for, and its events; `what` names the row in words."""

    class Detail(APIView):
        @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
            operation_id=f"{collection}_retrieve",
            tags=[collection],
            description=f"The {what}; with `wait` once it has ended, or after that time as it is then.",
            parameters=[ROW_ID, WAIT],
            responses=serializer,
        )
        def get(self, request: Request, id: str) -> Response:
            raise AssertionError("documentation only")

    class Events(APIView):
        @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
            operation_id=f"{collection}_events",
            tags=[collection],
            description=f"Server-sent events: one `state` event per {changes}, the present state first.",
            parameters=[ROW_ID, LAST_EVENT],
            responses={EVENTS: EVENT},
        )
        def get(self, request: Request, id: str) -> Response:
            raise AssertionError("documentation only")

    address = f"/api/v1/{collection}/{{id}}/"
    return [documented(address, "GET", Detail), documented(f"{address}events/", "GET", Events)]


def in_place(endpoints: Sequence[Endpoint], shown: Sequence[Endpoint]) -> list[Endpoint]:
    """`shown`, in place of the viewsets' views that they stand before."""
    answered = {(path, method) for path, _regex, method, _view in shown}
    return [*(endpoint for endpoint in endpoints if (endpoint[0], endpoint[2]) not in answered), *shown]
