"""Views that wait: plain async ones, since whoever waits must hold no thread.

They share the authenticator, the policies and the error mapper with the rest. `detail_view` and `events_view` make
those of any kind of row that has a state and a revision.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial, wraps
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

from django.contrib.auth import aget_user
from django.core.exceptions import RequestAborted
from django.db import InterfaceError, OperationalError, models
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from rest_framework.authentication import CSRFCheck
from rest_framework.exceptions import MethodNotAllowed

from mlops.api.authentication import bearer_of, cached_actor, token_unknown
from mlops.api.problems import problem_response
from mlops.api.threads import give_back_thread
from mlops.encoding import encoded
from mlops.errors import Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from mlops.models import User
from mlops.services.database import off_the_loop
from mlops.services.rates import acheck_rate
from mlops.services.watching import watchers_of

MAX_LONG_POLL_S = 60.0
RECHECK_S = 3.0
"""How often an open stream asks whether its reader may still read."""

FRESH_S = 1.0
"""How old the answer may be by which a request goes on: with `RECHECK_S` and the asking itself less than 5 s."""

ASK_AGAIN_S = 1.0
"""A right of which nobody could tell whether it holds is asked again after so long."""

STILL_HERE = b": still here\n\n"
"""A comment among events: it keeps a silent connection open."""

T = TypeVar("T")

View: TypeAlias = Callable[..., Coroutine[Any, Any, HttpResponseBase]]
Access: TypeAlias = Callable[[User, UUID], Any]
"""The row, if the actor may see it, read on a database thread. Raises `NotFound` or `Forbidden`."""


def refusing(view: View) -> View:
    """`view` with every exception as a problem, and free of Django's own CSRF check: `actor_of` makes it."""

    @csrf_exempt
    @wraps(view)
    async def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return await view(request, *args, **kwargs)
        except Exception as error:
            return problem_response(error, request.path)

    return answered


async def actor_of(request: HttpRequest, *, younger_than_s: float | None = None) -> User:
    """Who asks: the owner of the bearer token, else of the session, whose unsafe requests need the CSRF token.

    It counts as a request; what lasts begins with an answer that is `FRESH_S` old at most. Raises `TooMany`
    (`rate_limited`).
    """
    actor = await _identified(request, younger_than_s)
    await acheck_rate(actor)
    return actor


async def _identified(request: HttpRequest, younger_than_s: float | None) -> User:
    if header := request.headers.get("Authorization"):
        return await _owner_of(bearer_of(header), younger_than_s)
    user = await aget_user(request)
    if not isinstance(user, User) or not user.is_active:
        raise _not_authenticated()
    if CSRFCheck(lambda _request: HttpResponse()).process_view(request, None, (), {}) is not None:  # type: ignore[arg-type]
        raise Forbidden("csrf_failed", _("The CSRF token is missing or wrong."))
    return user


async def actor_by_now(request: HttpRequest) -> User:
    """Who asks, once more: a request that lasts must not outlive its token, its session or its user's account."""
    request.session = type(request.session)(request.session.session_key)
    return await _identified(request, FRESH_S)


def only(allowed: str, asked: str | None, path: str = "") -> HttpResponse:
    """The answer at `path` to the method that was `asked` for, where none but those are `allowed`."""
    response = problem_response(MethodNotAllowed(asked or ""), path)
    response.headers["Allow"] = allowed
    return response


def detail_view(model: type[models.Model], access: Access, represented: Callable[[Any], Any]) -> View:
    """GET a row; with `?wait=seconds` once it has ended, or after that time as it is then."""

    async def detail(request: HttpRequest, pk: UUID) -> HttpResponseBase:
        if request.method != "GET":
            return only("GET", request.method)
        actor = await actor_of(request)
        await off_the_loop(lambda: access(actor, pk))
        if wait_s := _wait(request):
            give_back_thread()
            await watchers_of(model).ended(pk, wait_s)
            actor = await actor_by_now(request)
        content = await off_the_loop(lambda: represented(access(actor, pk)))
        return HttpResponse(encoded(content, default=str), content_type="application/json")

    return refusing(detail)


def events_view(model: type[models.Model], access: Access) -> View:
    """GET a row's changes as server-sent events; `Last-Event-ID` is a revision to go on from."""

    async def events(request: HttpRequest, pk: UUID) -> HttpResponseBase:
        if request.method != "GET":
            return only("GET", request.method)
        actor = await actor_of(request, younger_than_s=FRESH_S)
        await off_the_loop(lambda: access(actor, pk))
        last = request.headers.get("Last-Event-ID", "0")
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
        right = StandingRight(request, lambda reader: access(reader, pk))
        return streamed(_events(right, model, pk, after), "text/event-stream")

    return refusing(events)


NOT_KEPT = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Headers of what leaves piece by piece: no proxy may keep or buffer it."""


def streamed(chunks: AsyncIterable[bytes], content_type: str) -> StreamingHttpResponse:
    """An answer that leaves piece by piece. Chunks that can be closed are closed at last, whatever becomes of it."""
    close = getattr(chunks, "close", None)
    if close is not None and (task := asyncio.current_task()) is not None:
        # Django closes no response whose client leaves before it is sent.
        task.add_done_callback(lambda _task: close())
    return StreamingHttpResponse(chunks, content_type=content_type, headers=NOT_KEPT)


class LastingRight:
    """The right to read on of whoever an answer is sent to piece by piece, asked anew every `RECHECK_S`."""

    def __init__(self, reader: Callable[[], Awaitable[User]], access: Callable[[User], Any]) -> None:
        """`reader` tells who reads, as that is now; `access` looks up for them what they read."""
        self._reader = reader
        self._access = access
        self._asked = time.monotonic()

    @property
    def due_in_s(self) -> float:
        return max(self._asked + RECHECK_S - time.monotonic(), 0.0)

    async def holds(self) -> bool:
        """Whether it holds by an answer that is young enough; where there is none, it is asked for."""
        return self.due_in_s > 0 or await self.ask()

    async def ask(self) -> bool:
        """Whether it holds now. As long as nobody can tell, this waits: nothing is sent then, and nothing is undone."""
        while True:
            self._asked = time.monotonic()
            try:
                actor = await self._reader()
                await off_the_loop(partial(self._access, actor))
            except (Unauthenticated, Forbidden, NotFound):
                return False
            except (Unavailable, OperationalError, InterfaceError):
                await asyncio.sleep(ASK_AGAIN_S)
            else:
                return True
            finally:
                give_back_thread()


class StandingRight(LastingRight):
    """That right of whoever sent a request."""

    def __init__(self, request: HttpRequest, access: Callable[[User], Any]) -> None:
        super().__init__(partial(actor_by_now, request), access)


async def while_allowed(right: LastingRight, chunks: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """`chunks` as long as they may be read. Then the connection is cut: half a file must not look like a whole one."""
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            if not await right.holds():
                raise RequestAborted
            yield chunk


async def while_readable(
    right: LastingRight, following: Callable[[], Awaitable[T | None]]
) -> AsyncGenerator[T | None, None]:
    """What `following` gives, one by one, until it gives None or what it gives may not be read any more.

    None comes in between whenever nothing else has come for `RECHECK_S`. Raises what `following` does.
    """
    coming = asyncio.ensure_future(following())
    try:
        while True:
            done, _waiting = await asyncio.wait({coming}, timeout=right.due_in_s)
            if not await (right.holds() if done else right.ask()):
                return
            if not done:
                yield None
                continue
            if (item := coming.result()) is None:
                return
            yield item
            coming = asyncio.ensure_future(following())
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _events(right: StandingRight, model: type[models.Model], pk: UUID, after: int) -> AsyncIterator[bytes]:
    """One event per change, a comment every `RECHECK_S`; ends with the row's work or with the right to read it."""
    give_back_thread()
    async with (
        contextlib.aclosing(watchers_of(model).changes(pk, after)) as changes,
        contextlib.aclosing(while_readable(right, lambda: anext(changes, None))) as coming,
    ):
        async for change in coming:
            if change is None:
                yield STILL_HERE
                continue
            data = encoded({"id": str(pk), "state": change.state, "revision": change.revision})
            yield b"event: state\nid: %d\ndata: %s\n\n" % (change.revision, data)


async def _owner_of(raw: str | None, younger_than_s: float | None) -> User:
    if raw is None:
        raise _not_authenticated()
    actor = await cached_actor(raw, off_the_loop, younger_than_s=younger_than_s)
    if actor is None:
        raise token_unknown()
    return actor


def _not_authenticated() -> Unauthenticated:
    return Unauthenticated("not_authenticated", _("Send a bearer token in the Authorization header."))


def _wait(request: HttpRequest) -> float:
    unknown = [name for name in request.GET if name != "wait"]
    if unknown:
        raise Invalid("unknown_parameter", _("There is no such query parameter."), field=unknown[0])
    asked = request.GET.get("wait", "0")
    if not (asked.isascii() and asked.isdigit() and len(asked) < 4):
        raise Invalid("wait_invalid", _("A whole number of seconds."), field="wait")
    return min(float(asked), MAX_LONG_POLL_S)
