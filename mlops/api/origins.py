"""Every request has an id, which its answer tells and the history of what it changed keeps."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from mlops.models.base import new_id
from mlops.origin import Edge, Origin, acting

HEADER = "X-Request-Id"

GetResponse: TypeAlias = Callable[[HttpRequest], HttpResponseBase]
AsyncGetResponse: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_EDGES = {"/admin/": Edge.ADMIN, "/graphql/": Edge.GRAPHQL}


def request_id_of(told: str) -> str:
    """The id that a client or proxy gave the request, if it may stand in logs and headers; else a new one."""
    return told if _PLAIN.fullmatch(told) else new_id().hex


@sync_and_async_middleware
def request_origins(get_response: GetResponse | AsyncGetResponse) -> GetResponse | AsyncGetResponse:
    """Middleware: the origin of whatever the request changes, and its id on the answer."""
    if iscoroutinefunction(get_response):

        async def answer_later(request: HttpRequest) -> HttpResponseBase:
            origin = _origin_of(request)
            with acting(origin):
                return _told(origin, await get_response(request))

        return answer_later

    def answer(request: HttpRequest) -> HttpResponseBase:
        origin = _origin_of(request)
        with acting(origin):
            response = get_response(request)
            assert isinstance(response, HttpResponseBase)
            return _told(origin, response)

    return answer


def _origin_of(request: HttpRequest) -> Origin:
    edge = next((edge for prefix, edge in _EDGES.items() if request.path_info.startswith(prefix)), Edge.REST)
    return Origin(edge, request_id_of(request.headers.get(HEADER, "")))


def _told(origin: Origin, response: HttpResponseBase) -> HttpResponseBase:
    response.headers[HEADER] = origin.request_id
    return response
