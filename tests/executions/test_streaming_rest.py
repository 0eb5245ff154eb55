"""POST execute for whoever accepts `text/event-stream`, on both fronts: one contract."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from config.asgi import application, pages
from executions.api.streaming import wants_events
from executions.models import Execution
from mlops.api import streams
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


def test_a_server_that_stops_is_no_reader_who_leaves(user: User, provider: Provider) -> None:
    """What runs goes on until the process hands it back."""
    dictation = Dictation()
    provider.script(dictation)
    dictation.say(SAID)
    bearer = f"Bearer {make_token(user)[1]}"
    reader = Reader(application, EXECUTE, body(), authorization=bearer, accept="text/event-stream")
    assert next(reader.events())[0] == "step"
    reader.ended.cancel()
    dictation.say(" goes on")
    dictation.end()
    eventually(lambda: Execution.objects.get().state == "completed")
    assert Execution.objects.get().output == {"answer": "It goes on"}


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
