"""The OpenAPI document: bearer tokens, write shapes per verb, and the refusals that every operation shares."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

PROBLEM = "#/components/schemas/Problem"

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; `detail` is for people. Further members depend on `code`.",
    "required": ["type", "title", "status", "detail", "code", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {
                    "field": {"type": "string", "description": "Dotted path into the request; empty for all of it."},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}

EVERYWHERE = {
    400: "Malformed",
    401: "Not authenticated",
    403: "Not allowed",
    429: "Too many requests",
    503: "Unavailable",
}
WITH_ROW = {404: "No such row, or not yours"}
"""Of the address, or of those that the body names."""

WITH_BODY = {413: "Body too large", 415: "Not JSON"}
WRITING = {409: "The row's state does not allow it"}
MATCHING = {412: "Somebody was faster"}


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[misc]  # drf-spectacular has no types
    target_class = "mlops.api.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "A token made by `manage.py create_token`."}


class RecordSchema(AutoSchema):  # type: ignore[misc]  # drf-spectacular has no types
    """Knows that a `RecordViewSet` reads with one serializer and writes with one per verb."""

    def get_request_serializer(self) -> Any:
        return self.view.write_serializer_class()

    def get_response_serializers(self) -> Any:
        serializer = self.view.get_serializer_class()
        return {201: serializer} if self.view.action in self.view.makes else serializer


def document_problems(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """Post-processing hook: add the shared problem responses to every operation, in one place."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                for status, description in _refusals(path, method, operation).items():
                    operation["responses"].setdefault(str(status), _response(description))
    return result


def say_anything_once(result: Any, **context: Any) -> Any:
    """Post-processing hook: any JSON value, null too, is `{}`. The generator writes "exactly one of anything and null",
    which null is not, since it is both."""
    if isinstance(result, dict):
        if result.get("oneOf") == [{}, {"type": "null"}]:
            del result["oneOf"]
        for inner in result.values():
            say_anything_once(inner)
    elif isinstance(result, list):
        for inner in result:
            say_anything_once(inner)
    return result


def _refusals(path: str, method: str, operation: dict[str, Any]) -> dict[int, str]:
    refusals = dict(EVERYWHERE)
    if "{" in path or "requestBody" in operation:
        refusals |= WITH_ROW
    if "requestBody" in operation:
        refusals |= WITH_BODY
    if method in ("post", "patch", "put", "delete"):
        refusals |= WRITING
    if method in ("patch", "delete"):
        refusals |= MATCHING
    return refusals


def _response(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": {"$ref": PROBLEM}}}}
