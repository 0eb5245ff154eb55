"""REST of executions.

Execute, wait and events are plain async views: whoever waits there holds no thread. The rest is the house's viewset.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import wraps
from typing import Any, TypeAlias
from uuid import UUID

import orjson
from django.contrib.auth import aget_user
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.authentication import CSRFCheck
from rest_framework.decorators import action
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response

from executions.api.execute import actor_of_token, reply_to
from executions.api.filters import ExecutionFilter, FeedbackFilter
from executions.api.representation import in_detail
from executions.api.schema import IDEMPOTENCY_KEY, NOT_COVERED
from executions.api.serializers import (
    ExecutionRowSerializer,
    ExecutionSerializer,
    FeedbackSerializer,
    ReplayWriteSerializer,
)
from executions.api.threads import give_back_thread
from executions.models import Execution, Feedback
from executions.selectors import access_execution
from executions.services import process
from executions.services.cancel import cancel_execution
from executions.services.feedback import rate_execution
from executions.services.process import ExecutionProcess
from executions.services.replay import replay_execution
from executions.types import Source
from mlops.api.authentication import bearer_of
from mlops.api.bodies import read_body
from mlops.api.problems import problem_response
from mlops.api.viewsets import Creates, RecordViewSet
from mlops.errors import Forbidden, Invalid, NotFound, Unauthenticated
from mlops.models import User

MAX_LONG_POLL_S = 60.0
RECHECK_S = 4.0
"""How often an open stream asks whether its reader may still read."""

View: TypeAlias = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def refusing(view: View) -> View:
    """`view` with every exception as problem+json, and free of Django's own CSRF check: `actor_of` makes it."""

    @csrf_exempt
    @wraps(view)
    async def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return await view(request, *args, **kwargs)
        except Exception as error:
            return problem_response(error)

    return answered


async def actor_of(request: HttpRequest) -> User:
    """Who asks: the owner of the bearer token, else of the session, whose unsafe requests need the CSRF token."""
    if header := request.headers.get("Authorization"):
        return await actor_of_token(bearer_of(header))
    user = await aget_user(request)
    if not isinstance(user, User) or not user.is_active:
        raise Unauthenticated("not_authenticated", _("Send a bearer token in the Authorization header."))
    if CSRFCheck(lambda _request: HttpResponse()).process_view(request, None, (), {}) is not None:  # type: ignore[arg-type]
        raise Forbidden("csrf_failed", _("The CSRF token is missing or wrong."))
    return user


async def actor_by_now(request: HttpRequest) -> User:
    """Who asks, once more: a request that lasts must not outlive its token, its session or its user's account."""
    request.session = type(request.session)(request.session.session_key)
    return await actor_of(request)


@refusing
async def execute(request: HttpRequest, ref: str) -> HttpResponseBase:
    """POST execute for sessions, and for whoever does not come through the lean route."""
    began = time.perf_counter()
    if request.method != "POST":
        return _only("POST")
    headers = {name.lower(): value for name, value in request.headers.items()}
    here, actor, raw = await process.aensure_started(), await actor_of(request), read_body(request)
    give_back_thread()
    reply = await _on(here, reply_to, actor=actor, reference=ref, raw=raw, headers=headers, began=began)
    return HttpResponse(reply.body, status=reply.status, headers=reply.headers)


@refusing
async def detail(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """GET an execution; with `?wait=seconds` once it has ended, or after that time as it is then."""
    if request.method != "GET":
        return _only("GET")
    actor = await actor_of(request)
    here = await process.aensure_started()
    await _readable(here, actor, pk)
    if wait_s := _wait(request):
        give_back_thread()
        await _on(here, here.watchers.ended, pk, wait_s)
        actor = await actor_by_now(request)
    execution = await _readable(here, actor, pk)
    return HttpResponse(orjson.dumps(in_detail(execution)), content_type="application/json")


@refusing
async def events(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """GET an execution's changes of state as server-sent events; `Last-Event-ID` is a revision to go on from."""
    if request.method != "GET":
        return _only("GET")
    actor = await actor_of(request)
    here = await process.aensure_started()
    await _readable(here, actor, pk)
    last = request.headers.get("Last-Event-ID", "0")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
    response = StreamingHttpResponse(_stream(request, here, pk, after), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _stream(request: HttpRequest, here: ExecutionProcess, pk: UUID, after: int) -> AsyncIterator[bytes]:
    """One event per change, a comment every `RECHECK_S`; ends with the execution or with the right to read it."""
    give_back_thread()
    async with contextlib.aclosing(here.watchers.changes(pk, after)) as changes:
        following = asyncio.ensure_future(anext(changes, None))
        try:
            while True:
                done, _waiting = await asyncio.wait({following}, timeout=RECHECK_S)
                if not done:
                    if not await _may_still_read(request, here, pk):
                        return
                    give_back_thread()
                    yield b": still here\n\n"
                    continue
                change = following.result()
                if change is None:
                    return
                data = orjson.dumps({"id": str(pk), "state": change.state, "revision": change.revision})
                yield b"event: state\nid: %d\ndata: %s\n\n" % (change.revision, data)
                following = asyncio.ensure_future(anext(changes, None))
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following


async def _may_still_read(request: HttpRequest, here: ExecutionProcess, pk: UUID) -> bool:
    try:
        await _readable(here, await actor_by_now(request), pk)
    except (Unauthenticated, Forbidden, NotFound):
        return False
    return True


async def _readable(here: ExecutionProcess, actor: User, pk: UUID) -> Execution:
    return await here.database.run(lambda: access_execution(actor=actor, execution_id=pk))


async def _on(here: ExecutionProcess, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Await `work` on the process's loop, which under a server is this one."""
    if here.loop is asyncio.get_running_loop():
        return await work(*args, **kwargs)
    return await asyncio.wrap_future(here.submit(work(*args, **kwargs)))


def _wait(request: HttpRequest) -> float:
    unknown = [name for name in request.GET if name != "wait"]
    if unknown:
        raise Invalid("unknown_parameter", _("There is no such query parameter."), field=unknown[0])
    asked = request.GET.get("wait", "0")
    if not (asked.isascii() and asked.isdigit() and len(asked) < 4):
        raise Invalid("wait_invalid", _("A whole number of seconds."), field="wait")
    return min(float(asked), MAX_LONG_POLL_S)


def _only(method: str) -> HttpResponse:
    response = problem_response(MethodNotAllowed(method))
    response.headers["Allow"] = method
    return response


class ExecutionViewSet(RecordViewSet):
    """Executions that the actor may see, newest first; lists leave input, output and trace out."""

    queryset = Execution.objects.select_related("program", "user")
    serializer_class = ExecutionSerializer
    list_serializer_class = ExecutionRowSerializer
    filterset_class = ExecutionFilter
    ordering_fields = ("id",)
    writes = {"replay": ReplayWriteSerializer}

    def in_list(self, rows: Any) -> Any:
        return rows.light()

    @extend_schema(responses={200: ExecutionSerializer, 202: ExecutionSerializer})  # type: ignore[untyped-decorator]  # drf-spectacular has no types
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Stop an execution. A pending one is cancelled at once, a running one within one model call: poll it."""
        execution = cancel_execution(actor=self.actor, execution=self.get_object())
        code = status.HTTP_200_OK if execution.is_terminal else status.HTTP_202_ACCEPTED
        return Response(in_detail(execution), status=code)

    @extend_schema(  # type: ignore[untyped-decorator]  # drf-spectacular has no types
        parameters=[IDEMPOTENCY_KEY], responses={202: ExecutionSerializer, **NOT_COVERED}
    )
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str) -> Response:
        """Execute the same input again, asynchronously, on the same or another version of a program."""
        arguments = self.arguments()
        key = request.headers.get("Idempotency-Key", "")
        execution = replay_execution(
            actor=self.actor,
            execution=self.get_object(),
            program=arguments.get("program"),
            source=Source.REST,
            idempotency_key=key,
        )
        location = request.build_absolute_uri(f"/api/v1/executions/{execution.pk}/")
        return Response(in_detail(execution), status=status.HTTP_202_ACCEPTED, headers={"Location": location})


class FeedbackViewSet(Creates):
    """Named scores on executions that the actor may see."""

    queryset = Feedback.objects.all()
    serializer_class = FeedbackSerializer
    filterset_class = FeedbackFilter
    ordering_fields = ("id",)
    writes = {"create": FeedbackSerializer}

    def perform_create(self, fields: dict[str, Any]) -> Any:
        execution = access_execution(actor=self.actor, execution_id=fields.pop("execution_id"))
        return rate_execution(actor=self.actor, execution=execution, **fields)
