"""What the OpenAPI document says about the plain async views, which its generator cannot see."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.api.imports import ImportSerializer
from datasets.services.exports import CONTENT_TYPES
from mlops.api.documented import ROW_ID, Endpoint, documented, in_place, refused, watched

FILES = {(200, kind.partition(";")[0]): OpenApiTypes.BINARY for kind in CONTENT_TYPES.values()} | {
    (200, "application/json"): {"type": "array", "items": {"type": "object"}}
}


class ExportDocumented(APIView):
    """A dataset as a file."""

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        operation_id="datasets_export",
        tags=["datasets"],
        parameters=[ROW_ID, OpenApiParameter("as", str, enum=[format.value for format in CONTENT_TYPES])],
        responses={**FILES, **refused(409, "`dataset_importing`: try again when its import has ended.")},
    )
    def get(self, request: Request, id: str) -> Response:
        """The examples in their order, sent while they are read.

        JSON and JSON Lines lose nothing. In CSV and TSV nested values are JSON, missing ones are empty, and texts that
        a spreadsheet would calculate begin with an apostrophe.
        """
        raise AssertionError("documentation only")


DOCUMENTED = [
    documented("/api/v1/datasets/{id}/export/", "GET", ExportDocumented),
    *watched("imports", "import", ImportSerializer),
]


def add_async_views(endpoints: list[Endpoint], **context: Any) -> list[Endpoint]:
    """Preprocessing hook of drf-spectacular."""
    return in_place(endpoints, DOCUMENTED)
