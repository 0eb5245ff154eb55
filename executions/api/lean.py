"""The lean route of POST execute: no middleware, no view, no request object between the socket and the service.

Only requests with a bearer token take it; those of a session need Django's middleware and go to the view, which asks
the same service. The contract tests run against both.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, TypeAlias

from django.conf import settings

from executions.api.execute import Reply, actor_of_token, refusal, reply_to
from executions.api.streaming import EVENTS, EventStream, event_stream, wants_events
from mlops.api.authentication import bearer_of
from mlops.api.bodies import body_too_large
from mlops.api.origins import request_id_of
from mlops.api.streams import FRESH_S, NOT_KEPT, RECHECK_S, LastingRight
from mlops.services.rates import acheck_rate

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PATH = re.compile(r"^/api/v1/programs/([^/]{1,200})/execute/$")


class Disconnected(Exception):
    """The client left before its request was complete."""


def is_lean(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope["method"] == "POST"
        and PATH.match(scope["path"]) is not None
        and any(name == b"authorization" for name, _value in scope["headers"])
    )


async def execute(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one POST execute; every refusal is problem+json, and what nobody foresaw is logged."""
    began = time.perf_counter()
    try:
        reply = await _answered(scope, receive, began)
    except Disconnected:
        return
    except Exception as error:
        reply = refusal(error)
    if isinstance(reply, EventStream):
        await _send_events(reply, _request_id(scope), receive, send)
    else:
        await _send(reply, _request_id(scope), send)


def _request_id(scope: Scope) -> str:
    told = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return request_id_of(told.decode("latin-1"))


async def _answered(scope: Scope, receive: Receive, began: float) -> Reply | EventStream:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    token = bearer_of(headers["authorization"])
    is_stream = wants_events(headers.get("accept", ""))
    actor = await actor_of_token(token, FRESH_S if is_stream else None)
    await acheck_rate(actor)
    match = PATH.match(scope["path"])
    assert match is not None  # `is_lean` asked first
    raw, reference = await _body(receive), match.group(1)
    if is_stream:
        right_of = partial(LastingRight, partial(actor_of_token, token, FRESH_S))
        return await event_stream(actor=actor, reference=reference, raw=raw, headers=headers, right_of=right_of)
    reply = await reply_to(actor=actor, reference=reference, raw=raw, headers=headers, began=began)
    if time.perf_counter() - began > RECHECK_S:
        await actor_of_token(token, FRESH_S)  # who waited that long may have lost their token meanwhile
    return reply


async def _body(receive: Receive) -> bytes:
    """The body, counted while it arrives. Raises `TooLarge` one byte past the limit."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > settings.SIGNET_MAX_BODY_BYTES:
            raise body_too_large()
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


async def _send_events(events: EventStream, request_id: str, receive: Receive, send: Send) -> None:
    """Send what comes until it ends or the client leaves."""
    headers = {"content-type": EVENTS, **NOT_KEPT, **events.headers, "x-request-id": request_id}
    pairs = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]

    async def passed_on() -> None:
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        async for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    sending, leaving = asyncio.ensure_future(passed_on()), asyncio.ensure_future(_until_left(receive))
    await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    leaving.cancel()
    if not sending.done():
        sending.cancel()
        events.close()
    with contextlib.suppress(asyncio.CancelledError):
        await sending


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(reply: Reply, request_id: str, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in reply.headers.items()]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    headers.append((b"x-request-id", request_id.encode()))
    if reply.status == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
