"""What every answer tells the browser not to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

GetResponse: TypeAlias = Callable[[HttpRequest], HttpResponseBase]
AsyncGetResponse: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

_NOTHING = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
_OWN_FILES = {
    **_NOTHING,
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
}
# Its pages are drawn by django-unfold: Alpine evaluates the expressions of its attributes, and widths and colours are
# style attributes. Scripts come from our own files here too, never from the page.
_ADMIN = {
    **_OWN_FILES,
    "script-src": "'self' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "form-action": "'self'",
}


def _written(directives: dict[str, str]) -> str:
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


# GraphiQL brings its fonts inside of its style sheet.
_GRAPHIQL = {**_OWN_FILES, "font-src": "'self' data:"}

POLICIES = {
    "/admin/": _written(_ADMIN),
    "/api/docs/": _written(_OWN_FILES),
    "/graphql/": _written(_GRAPHIQL),
}
"""Content security policies by the beginning of the path."""

STRICT_POLICY = _written(_NOTHING)
"""Of all other addresses: what they answer is data, and loads nothing wherever it is shown."""

HEADERS = {
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # what one person may see is kept for nobody else
}


@sync_and_async_middleware
def security_headers(get_response: GetResponse | AsyncGetResponse) -> GetResponse | AsyncGetResponse:
    """Middleware. A view that needs another policy sets the header itself."""
    if iscoroutinefunction(get_response):

        async def answer_later(request: HttpRequest) -> HttpResponseBase:
            return _guarded(request, await get_response(request))

        return answer_later

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        assert isinstance(response, HttpResponseBase)
        return _guarded(request, response)

    return answer


def _guarded(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    response.headers.setdefault("Content-Security-Policy", _policy_of(request.path_info))
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _policy_of(path: str) -> str:
    return next((policy for prefix, policy in POLICIES.items() if path.startswith(prefix)), STRICT_POLICY)
