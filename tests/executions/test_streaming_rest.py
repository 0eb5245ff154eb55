"""POST execute for whoever accepts `text/event-stream`, on both fronts: one contract."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError

from config.asgi import application, pages
from executions.api.streaming import wants_events
from executions.models import Execution
from executions.services import process
from executions.services.process import executing
from mlops.api import streams
from mlops.api.streams import LastingRight, streamed, while_readable
from mlops.errors import Unavailable
from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance
from mlops.services.tokens import revoke_token
from tests.conftest import api_of
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.executions.reading import Reader
from tests.factories import make_token, make_user
from tests.installation import eventually
from tests.provider import Dictation, Provider

pytestmark = pytest.mark.django_db(transaction=True)

EXECUTE = "/api/v1/programs/answering/execute/"
SAID = "[[ ## answer ## ]]\nIt"

Post = Callable[..., Reader]


@pytest.fixture(params=[application, pages], ids=["lean", "django"])
def post(request: pytest.FixtureRequest) -> Post:
    front: Callable[..., Any] = request.param

    def posted(
        token: str, raw: bytes, path: str = EXECUTE, accept: str = "text/event-stream", **headers: str
    ) -> Reader:
        return Reader(front, path, raw, authorization=f"Bearer {token}", accept=accept, **headers)

    return posted


@pytest.fixture
def user(provider: Provider) -> User:
    provided_model(provider)
    make_program()
    return make_user(credits=10)


def body(**fields: Any) -> bytes:
    return json.dumps({"input": {"question": "Why?"}, **fields}).encode()


def test_steps_and_pieces_come_as_they_are_said_and_the_result_last(post: Post, user: User, provider: Provider) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    reader = post(make_token(user)[1], body())
    row = Execution.objects.get()
    assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream")
    assert reader.headers["x-execution-id"] == str(row.pk)
    assert reader.headers["location"] == f"/api/v1/executions/{row.pk}/"
    assert (reader.headers["cache-control"], reader.headers["x-accel-buffering"]) == ("no-store", "no")
    assert "x-request-id" in reader.headers
    assert "content-length" not in reader.headers
    events = reader.events()
    assert next(events) == ("step", {"module": "main", "state": "started"})
    assert next(events) == ("piece", {"module": "main", "field": "answer", "text": "It"})
    dictation.say(" goes on")
    assert next(events) == ("piece", {"module": "main", "field": "answer", "text": " goes on"})
    assert state_of(row) == "running"
    dictation.end()
    assert next(events) == ("step", {"module": "main", "state": "completed"})
    name, result = next(events)
    assert (name, list(events)) == ("result", [])
    assert result == api_of(user).get(f"/api/v1/executions/{row.pk}/").json()
    assert (result["state"], result["output"]) == ("completed", {"answer": "It goes on"})
    reader.ended.result(10)


@pytest.mark.parametrize(
    ("raw", "status", "code", "field"),
    [
        (b"{", 400, "malformed_json", ""),
        (b"{}", 400, "required", "input"),
        (b'{"input": {}}', 400, "missing", "question"),
        (body(options={"mode": "async"}), 400, "invalid_option", "options.mode"),
        (b'{"input": {"question": "' + b"x" * 1_000_001 + b'"}}', 413, "body_too_large", ""),
    ],
)
def test_refusals_are_problems_and_nothing_happens(
    post: Post, user: User, provider: Provider, raw: bytes, status: int, code: str, field: str
) -> None:
    reader = post(make_token(user)[1], raw)
    problem = reader.body()
    assert (reader.status, reader.headers["content-type"]) == (status, "application/problem+json")
    assert problem["errors"][0]["code"] == code
    assert problem["errors"][0]["field"] == field
    assert (Execution.objects.count(), provider.requests) == (0, [])


@pytest.mark.parametrize(
    ("credits", "path", "status", "code"),
    [
        (0, EXECUTE, 402, "insufficient_credits"),
        (10, "/api/v1/programs/nothing/execute/", 404, "program_not_found"),
    ],
)
def test_whoever_may_not_execute_gets_no_stream(
    post: Post, user: User, credits: int, path: str, status: int, code: str
) -> None:
    reader = post(make_token(make_user(credits=credits))[1], body(), path)
    assert (reader.status, reader.headers["content-type"]) == (status, "application/problem+json")
    assert reader.body()["code"] == code
    assert Execution.objects.count() == 0


def test_without_a_valid_token_there_is_no_stream(post: Post, user: User) -> None:
    reader = post("signet_of_nobody", body())
    assert (reader.status, reader.body()["code"]) == (401, "token_unknown")


def test_a_failed_execution_is_a_result_too(post: Post, user: User, provider: Provider) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    dictation.break_off()
    *_, (name, result) = post(make_token(user)[1], body()).events()
    assert (name, result["state"], result["error"]["code"]) == ("result", "failed", "provider_unavailable")
    assert float(result["credits_used"]) > 0


def test_a_repeated_key_gives_the_first_result(post: Post, user: User, provider: Provider) -> None:
    token = make_token(user)[1]
    *_, (_, first) = post(token, body(), idempotency_key="once").events()
    reader = post(token, body(), idempotency_key="once")
    assert (reader.headers["idempotent-replayed"], reader.headers["x-execution-id"]) == ("true", first["id"])
    assert list(reader.events()) == [("result", first)]
    assert len(provider.requests) == 1
    other = post(token, body(input={"question": "What?"}), idempotency_key="once")
    assert (other.status, other.body()["code"]) == (409, "idempotency_key_reused")


def test_a_reader_who_leaves_closes_the_call_and_nothing_stays_reserved(
    post: Post, user: User, provider: Provider
) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    reader = post(make_token(user)[1], body())
    events = reader.events()
    assert [next(events)[0], next(events)[0]] == ["step", "piece"]
    row = Execution.objects.get()
    reader.leave()
    assert dictation.left.wait(10), "the connection to the provider is closed"
    eventually(lambda: state_of(row) == "cancelled")
    row = Execution.objects.get()
    entries = CreditEntry.objects.filter(subject_id=row.pk).order_by("pk")
    assert list(entries.values_list("kind", flat=True)) == ["reserve", "settle"]
    user.refresh_from_db()
    assert user.ml_credits == proven_balance(user) == 10_000_000 - row.credits_used
    assert row.credits_used > 0
    assert len(provider.requests) == 1


def test_a_server_that_stops_is_no_reader_who_leaves(
    user: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As uvicorn stops: it cancels what still answers, closes the connections and ends the process's loop. What still
    runs then is the queue's again, even though its reader's right cannot be asked any more."""
    monkeypatch.setattr(streams, "RECHECK_S", 0.05)
    monkeypatch.setattr(executing, "DRAIN_S", 0.5)
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    bearer = f"Bearer {make_token(user)[1]}"
    reader = Reader(application, EXECUTE, body(), authorization=bearer, accept="text/event-stream")
    events = reader.events()
    assert [next(events)[0], next(events)[0]] == ["step", "piece"]
    reader.ended.cancel()
    reader.disconnect()

    process.stop_thread()

    row = Execution.objects.get()
    assert (row.state, row.attempt, row.leased_by) == ("pending", 1, "")
    assert list(CreditEntry.objects.filter(subject_id=row.pk).values_list("kind", flat=True)) == ["reserve"]


def test_who_repeats_a_request_hears_how_far_it_got_when_the_server_stops(
    user: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executing, "DRAIN_S", 0.2)
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    asked = {"authorization": f"Bearer {make_token(user)[1]}", "idempotency_key": "once"}
    first = Reader(application, EXECUTE, body(), **asked, accept="text/event-stream")
    assert next(first.events())[0] == "step"
    second = Reader(application, EXECUTE, body(), **asked, accept="text/event-stream")
    assert second.headers["idempotent-replayed"] == "true"

    process.stop_thread()

    name, told = list(second.events())[-1]
    assert (name, told["state"], told["id"]) == ("result", "pending", str(Execution.objects.get().pk))
    assert len(provider.requests) == 1


def test_what_ends_while_the_server_stops_is_stored(
    user: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.05)
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    bearer = f"Bearer {make_token(user)[1]}"
    reader = Reader(application, EXECUTE, body(), authorization=bearer, accept="text/event-stream")
    assert next(reader.events())[0] == "step"
    reader.ended.cancel()
    threading.Timer(0.3, dictation.end).start()

    process.stop_thread()

    row = Execution.objects.get()
    assert (row.state, row.output) == ("completed", {"answer": "It"})


def test_while_nothing_comes_a_comment_is_sent(
    post: Post, user: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "RECHECK_S", 0.2)
    dictation = Dictation()
    provider.script(dictation)
    reader = post(make_token(user)[1], body())
    chunks = reader.chunks()
    assert next(chunks).startswith(b"event: step")
    assert next(chunks) == b": still here\n\n"
    dictation.say(SAID)
    dictation.end()
    *_, last = chunks
    assert last.startswith(b"event: result\n")


def test_one_comment_is_sent_per_interval(
    post: Post, user: User, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a timer fires a little early, as uvloop's do: the loop must not spin until the interval is over."""
    monkeypatch.setattr(streams, "RECHECK_S", 0.25)
    patiently = asyncio.wait

    async def early(waiting: Any, *, timeout: float | None = None, **how: Any) -> Any:
        return await patiently(waiting, timeout=timeout and timeout * 0.9, **how)

    monkeypatch.setattr(asyncio, "wait", early)
    dictation = Dictation()
    provider.script(dictation)
    reader = post(make_token(user)[1], body())
    chunks = reader.chunks()
    assert next(chunks).startswith(b"event: step")
    began = time.monotonic()
    assert [next(chunks) for _ in range(4)] == [b": still here\n\n"] * 4
    assert time.monotonic() - began > 4 * 0.25 * 0.85
    dictation.end()


def test_a_right_of_which_nobody_can_tell_undoes_nothing_and_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database does not answer for a moment: what comes meanwhile is given once it is known that it may be read."""
    monkeypatch.setattr(streams, "RECHECK_S", 0.0)
    monkeypatch.setattr(streams, "ASK_AGAIN_S", 0.01)
    asked: list[int] = []
    away = [OperationalError(), Unavailable("starting", "Not yet."), InterfaceError()]

    async def reader() -> User:
        asked.append(len(given))
        if away:
            raise away.pop(0)
        return User(username="reader")

    given: list[str | None] = []
    said = iter(["one", "two", None])

    async def following() -> str | None:
        return next(said)

    async def read() -> None:
        async for item in while_readable(LastingRight(reader, lambda actor: None), following):
            given.append(item)

    asyncio.run(read())
    assert given == ["one", "two"]
    assert asked[:4] == [0, 0, 0, 0]


def test_a_stream_that_django_loses_before_it_is_sent_is_closed() -> None:
    closed = threading.Event()

    class Chunks:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"never"

        def close(self) -> None:
            closed.set()

    async def answered() -> None:
        streamed(Chunks(), "text/event-stream")
        await asyncio.sleep(30)  # in a middleware, on its way out

    async def left() -> None:
        answering = asyncio.create_task(answered())
        await asyncio.sleep(0)
        answering.cancel()
        await asyncio.wait({answering})

    asyncio.run(left())
    assert closed.is_set()


def test_a_right_that_is_taken_away_ends_the_stream_and_the_execution(
    post: Post, user: User, provider: Provider
) -> None:
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    token, raw = make_token(user)
    reader = post(raw, body())
    events = reader.events()
    assert [next(events)[0], next(events)[0]] == ["step", "piece"]
    revoke_token(actor=user, token=token)
    taken = time.monotonic()
    assert list(events) == []
    assert time.monotonic() - taken < 5
    assert dictation.left.wait(10)
    eventually(lambda: Execution.objects.get().state == "cancelled")
    reader.ended.result(10)


@pytest.mark.parametrize(
    ("accept", "is_stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream;charset=utf-8", True),
        ("text/event-stream, application/json;q=0.9", True),
        ("application/json, text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", False),
        ("text/event-stream;q=0", False),
        ("application/json", False),
        ("*/*", False),
        ("text/*", False),
        ("", False),
        ("text/event-stream;q=nan", True),
        (";;,,q=", False),
    ],
)
def test_only_who_names_it_gets_a_stream(accept: str, is_stream: bool) -> None:
    assert wants_events(accept) is is_stream
