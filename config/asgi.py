"""The ASGI application: POST execute takes the lean route, subscriptions and static files their own, all else goes to
Django.

The lifespan makes the server's event loop the one on which this process runs executions.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

django = get_asgi_application()

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402

from config.graphql import schema  # noqa: E402
from executions.api.lean import execute, is_lean  # noqa: E402
from executions.services import process  # noqa: E402
from mlops.api.bodies import limit_body  # noqa: E402
from mlops.graphql.sockets import SubscriptionSocket  # noqa: E402

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

pages = limit_body(ASGIStaticFilesHandler(django))
subscriptions = SubscriptionSocket.as_asgi(schema=schema)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await (subscriptions if scope["path"] == "/graphql/ws/" else nowhere)(scope, receive, send)
    else:
        await answered(execute if is_lean(scope) else pages, scope, receive, send)


async def answered(front: Application, scope: Scope, receive: Receive, send: Send) -> None:
    """Let `front` answer one request, in a task of its own.

    A server that stops cancels this waiting when its patience is over, and goes on to end the process's loop. What
    still answers then is not torn up but told how far it got, as long as that takes.
    """
    answering = asyncio.ensure_future(front(scope, receive, send))
    try:
        await asyncio.shield(answering)
    except asyncio.CancelledError:
        with contextlib.suppress(asyncio.CancelledError):
            await answering


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket that nobody answers: the handshake is refused."""
    await receive()
    await send({"type": "websocket.close"})


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await process.start_here()
    process.settle_heap()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await process.stop_here()
    await send({"type": "lifespan.shutdown.complete"})
