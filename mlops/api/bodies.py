"""What may come in as a body: counted while it arrives, then strict JSON."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import IO, Any, TypeAlias

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import HttpRequest
from django.utils.translation import gettext as _
from rest_framework.parsers import BaseParser, MultiPartParser

from mlops.api.problems import problem_of, written_for
from mlops.errors import Invalid, TooLarge
from mlops.strict_json import parse_json

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
DISCONNECT: Message = {"type": "http.disconnect"}
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


def body_too_large(limit: int | None = None) -> TooLarge:
    limit = limit or settings.SIGNET_MAX_BODY_BYTES
    return TooLarge(
        "body_too_large", _("The body is larger than %(limit)d bytes.") % {"limit": limit}, extra={"limit": limit}
    )


def read_body(stream: IO[bytes] | HttpRequest) -> bytes:
    """All of a body within the limit. Raises `TooLarge` after reading one byte more than is accepted."""
    raw: bytes = stream.read(settings.SIGNET_MAX_BODY_BYTES + 1)
    if len(raw) > settings.SIGNET_MAX_BODY_BYTES:
        raise body_too_large()
    return raw


class StrictJSONParser(BaseParser):
    """DRF's JSON parser with the limits above."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return parse_json(read_body(stream))


class UploadParser(MultiPartParser):
    """A file with fields: the file goes to the disk as it arrives, the fields are bounded."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            return super().parse(stream, media_type, parser_context)
        except RequestDataTooBig:
            raise body_too_large() from None
        except SuspiciousOperation:
            raise Invalid("malformed_upload", _("The body has too many fields or files.")) from None


def limit_body(app: Application) -> Application:
    """`app` behind a counter of the bytes that arrive: one too many and the answer is 413, the rest is not read.

    Also bounds bodies that announce no length. The connection is closed, so that the rest is not taken for a request.
    """

    async def counted(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        limit = limit_of(scope["path"])
        if _announced(scope) > limit:
            return await _refuse(send, limit, scope["path"])
        await _run_counted(app, scope, receive, send, limit)

    return counted


def limit_of(path: str) -> int:
    """Bytes that a body sent to `path` may have: where files are uploaded, a file with its fields."""
    if re.fullmatch(settings.SIGNET_UPLOAD_PATHS, path):
        return int(settings.SIGNET_MAX_UPLOAD_BYTES + settings.SIGNET_MAX_BODY_BYTES)
    return int(settings.SIGNET_MAX_BODY_BYTES)


async def _run_counted(app: Application, scope: Any, receive: Receive, send: Send, limit: int) -> None:
    arrived = 0
    has_begun = False

    async def counting_receive() -> Message:
        nonlocal arrived
        if arrived > limit:
            return DISCONNECT
        message = await receive()
        arrived += len(message.get("body", b""))
        # To whatever is reading, a body that is too large looks like a client that has gone: it tidies up and ends.
        return DISCONNECT if arrived > limit else message

    async def noting_send(message: Message) -> None:
        nonlocal has_begun
        if has_begun or arrived <= limit:
            has_begun = True
            await send(message)

    await app(scope, counting_receive, noting_send)
    if arrived > limit and not has_begun:
        await _refuse(send, limit, scope["path"])


def _announced(scope: Mapping[str, Any]) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


async def _refuse(send: Send, limit: int, path: str) -> None:
    status, body, _headers = problem_of(body_too_large(limit))
    kind, content, _more = written_for(path, status, body)
    headers = [(b"content-type", kind.encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
