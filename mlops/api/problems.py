"""Every refusal of REST as RFC 9457 `application/problem+json`.

`problem_of` is the one mapper from an exception to status, document and headers; DRF, plain async views, Django's own
error views and the lean ASGI route all use it. Where the API is OpenAI's, the document is told in OpenAI's form.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from mlops import errors
from mlops.api import openai_errors
from mlops.errors import DomainError, Problem
from mlops.sanitiser import replace_unstorable

CONTENT_TYPE = "application/problem+json"
API_PREFIXES = ("/api/", "/v1/")
RETRY_AFTER_S = 1

Answer: TypeAlias = tuple[int, dict[str, Any], dict[str, str]]

logger = logging.getLogger(__name__)

STATUS: dict[type[DomainError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.InsufficientCredits: 402,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Stale: 412,
    errors.TooLarge: 413,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}


def problem_of(error: BaseException) -> Answer:
    """Status, problem document and headers for `error`; the unforeseen is 500 `internal_error` without details."""
    if isinstance(error, DomainError):
        return _of_domain(error)
    if isinstance(error, Http404):
        return _of_domain(errors.NotFound("not_found", _("There is nothing at this address.")))
    if isinstance(error, PermissionDenied):
        return _of_domain(errors.Forbidden("permission_denied", _("You are not allowed to do this.")))
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    if isinstance(error, OperationalError | InterfaceError):
        return _of_domain(errors.Unavailable("database_unavailable", _("The database does not answer.")))
    return 500, document(500, "internal_error", _("Something went wrong on our side.")), {}


def problem_told(error: BaseException) -> Answer:
    """As `problem_of`; what nobody foresaw is logged."""
    told = problem_of(error)
    if told[0] == 500:
        logger.error("unexpected error", exc_info=error)
    return told


def document(
    status: int, code: str, detail: str, problems: tuple[Problem, ...] = (), extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The problem document; `extra` members stand beside the standard ones and never replace them."""
    members = {
        **(extra or {}),
        "type": f"urn:signet:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [{"field": item.field, "code": item.code, "message": item.message} for item in problems],
    }
    clean: dict[str, Any] = replace_unstorable(members)[0]  # messages may quote what the caller sent
    return clean


def _of_domain(error: DomainError) -> Answer:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        headers["Retry-After"] = str(error.extra.get("retry_after_s", RETRY_AFTER_S))
    return status, document(status, error.code, error.message, error.problems, error.extra), headers


def _of_framework(error: exceptions.APIException) -> Answer:
    status = error.status_code
    problems = tuple(_flattened(error.detail))
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait) + 1)
    if len(problems) == 1:
        return status, document(status, problems[0].code, problems[0].message, problems), headers
    return status, document(status, "invalid", _("Several fields are wrong."), problems), headers


def _flattened(detail: Any, path: str = "") -> Iterator[Problem]:
    """DRF's nested details as a list, each with the dotted path of its field."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _flattened(inner, path if name == "non_field_errors" else _joined(path, name))
    elif isinstance(detail, list) and all(isinstance(item, exceptions.ErrorDetail) for item in detail):
        yield from (Problem(item.code, str(item), path) for item in detail)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            yield from _flattened(inner, _joined(path, index))
    elif detail is not None:
        yield Problem(getattr(detail, "code", "invalid"), str(detail), path)


def _joined(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's hook: every exception of a view becomes a problem document; the unforeseen ones are logged."""
    status, body, headers = problem_of(error)
    if status == 500:
        logger.exception("unexpected error", exc_info=error)
        got_request_exception.send(sender=None, request=context.get("request"))
    return Response(body, status=status, headers=headers, content_type=CONTENT_TYPE)


def problem_response(error: BaseException, path: str = "") -> HttpResponse:
    """For plain views: the refusal as Django's response, in the form of the API that `path` belongs to."""
    status, body, headers = problem_told(error)
    return _written(status, body, headers, path)


def _written(status: int, body: dict[str, Any], headers: Mapping[str, str], path: str) -> HttpResponse:
    kind, content, more = written_for(path, status, body)
    return HttpResponse(content, status=status, headers={**headers, **more}, content_type=kind)


def written_for(path: str, status: int, body: Mapping[str, Any]) -> tuple[str, bytes, dict[str, str]]:
    """A problem document in the form of the API that `path` belongs to: content type, content, further headers."""
    if openai_errors.is_below(path):
        content = encoded(openai_errors.openai_error(body))
        return openai_errors.CONTENT_TYPE, content, openai_errors.retry_headers(status)
    return CONTENT_TYPE, encoded(body), {}


def encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


# Django's own error pages: problem documents under the API, the usual pages elsewhere.


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    return problem_response(errors.Invalid("bad_request", _("The request is malformed.")), request.path)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not _is_api(request):
        return defaults.permission_denied(request, exception)
    return problem_response(PermissionDenied(), request.path)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    if not _is_api(request):
        return defaults.permission_denied(request, PermissionDenied(reason))
    return problem_response(errors.Forbidden("csrf_failed", _("The CSRF token is missing or wrong.")), request.path)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not _is_api(request):
        return defaults.page_not_found(request, exception)
    return problem_response(Http404(), request.path)


def server_error(request: HttpRequest) -> HttpResponse:
    if not _is_api(request):
        return defaults.server_error(request)
    # Django has logged the exception with its traceback already.
    return _written(500, document(500, "internal_error", _("Something went wrong on our side.")), {}, request.path)


def _is_api(request: HttpRequest) -> bool:
    return f"{request.path}/".startswith(API_PREFIXES)
