"""Who opens a WebSocket: a bearer token that the first message carries, else the session of the site.

Browsers send cookies along whatever page asks them to, so a session counts only for pages of this site or of an origin
that is trusted, by the rule that holds for forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.utils.http import is_same_domain
from django.utils.translation import gettext as _

from mlops.errors import Forbidden, Unauthenticated
from mlops.models import User
from mlops.services.credentials import BearerToken, BrowserSession, Credentials, known_by
from mlops.services.database import off_the_loop
from mlops.services.tokens import bearer_of, token_unknown


def request_of(scope: Mapping[str, Any]) -> ASGIRequest:
    """The request by which the connection was opened, as Django would have it."""
    scheme = "https" if scope.get("scheme") == "wss" else "http"
    return ASGIRequest({**scope, "type": "http", "method": "GET", "scheme": scheme}, BytesIO())


def credentials_of(request: ASGIRequest, header: str | None) -> Credentials:
    """What somebody comes with; `header` is the Authorization that their first message has.

    Raises `Unauthenticated` (`token_unknown`, `not_authenticated`) and `Forbidden` (`origin_forbidden`).
    """
    if header is not None:
        raw = bearer_of(header)
        if raw is None:
            raise token_unknown()
        return BearerToken(raw)
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key:
        raise Unauthenticated("not_authenticated", _("Send a bearer token in connection_init."))
    if not _is_from_here(request):
        raise Forbidden("origin_forbidden", _("Pages of this origin may not use the session."))
    return BrowserSession(key)


async def known_as(credentials: Credentials) -> User:
    """Whose they are. Raises `Unauthenticated`, as `unknown` has it."""
    actor = (await off_the_loop(lambda: known_by([credentials]))).get(credentials)
    if actor is None:
        raise unknown(credentials)
    return actor


def unknown(credentials: Credentials) -> Unauthenticated:
    """Nobody is known by `credentials` (any more)."""
    if isinstance(credentials, BearerToken):
        return token_unknown()
    return Unauthenticated("not_authenticated", _("The session is over."))


def _is_from_here(request: ASGIRequest) -> bool:
    origin = request.headers.get("Origin", "")
    own = f"{'https' if request.is_secure() else 'http'}://{request.get_host()}"
    return origin == own or any(_is_of(origin, trusted) for trusted in settings.CSRF_TRUSTED_ORIGINS)


def _is_of(origin: str, trusted: str) -> bool:
    """Whether `origin` is the trusted one, or one below it where that begins with `*.`."""
    try:
        asking, allowed = urlsplit(origin), urlsplit(trusted)
    except ValueError:
        return False
    if "*" not in trusted:
        return origin == trusted
    return asking.scheme == allowed.scheme and is_same_domain(asking.netloc, allowed.netloc.lstrip("*"))
