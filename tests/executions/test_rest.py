"""REST of executions, through Django's own view and through the lean route: one contract."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
from django.test import AsyncClient, Client

from config.asgi import application
from executions.models import Execution
from executions.services import process
from mlops.models import User
from tests.executions.conftest import state_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_token, make_user
from tests.installation import eventually
from tests.provider import Provider, hang

pytestmark = pytest.mark.django_db(transaction=True)

EXECUTE = "/api/v1/programs/answering/execute/"


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Any


Send = Callable[..., Reply]


def through_django(token: str, path: str, raw: bytes, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    client = Client(headers={"Authorization": f"Bearer {token}", **named})
    response = client.post(path, raw, content_type="application/json")
    return Reply(
        response.status_code, {k.lower(): v for k, v in response.headers.items()}, json.loads(response.content)
    )


def through_the_lean_route(token: str, path: str, raw: bytes, **headers: str) -> Reply:
    """The ASGI application itself, on the process's loop, as a server would call it."""
    here = process.ensure_started()
    sent: list[Any] = []
    messages = iter([{"type": "http.request", "body": raw, "more_body": False}])
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [(b"authorization", f"Bearer {token}".encode()), (b"content-type", b"application/json"), *pairs],
    }

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    here.submit(application(scope, receive, send)).result(30)
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], answered, json.loads(sent[1]["body"]))


@pytest.fixture(params=[through_django, through_the_lean_route], ids=["django", "lean"])
def send(request: pytest.FixtureRequest) -> Send:
    chosen: Send = request.param
    return chosen


@pytest.fixture
def user(provider: Provider) -> User:
    provided_model(provider)
    make_program()
    return make_user(credits=10)


def body(**fields: Any) -> bytes:
    return json.dumps({"input": {"question": "Why?"}, **fields}).encode()


def test_execute_answers_with_the_row_and_its_figures(send: Send, user: User) -> None:
    reply = send(make_token(user)[1], EXECUTE, body())
    row = Execution.objects.get()
    assert reply.status == 200
    assert reply.body["id"] == str(row.pk) == reply.headers["x-execution-id"]
    assert reply.body["state"] == "completed"
    assert reply.body["output"] == row.output
    assert reply.body["program"]["name"] == "answering"
    assert reply.headers["location"] == f"/api/v1/executions/{row.pk}/"
    assert reply.headers["x-cost-usd"] == reply.body["cost_usd"] != "0"
    assert float(reply.headers["x-overhead-ms"]) >= 0
    assert reply.headers["x-cache"] == "bypass"
    user.refresh_from_db()
    assert float(reply.headers["x-credits-remaining"]) == user.ml_credits / 1_000_000
    assert [span["kind"] for span in reply.body["trace"]["spans"]] == ["module", "llm"]
    assert "cost" not in json.dumps(reply.body["trace"]).replace("cost_usd", "")


def test_async_mode_answers_at_once(send: Send, user: User, provider: Provider) -> None:
    reply = send(make_token(user)[1], EXECUTE, body(options={"mode": "async"}))
    assert (reply.status, reply.body["state"], provider.requests) == (202, "pending", [])


def test_prefer_wait_answers_with_what_is_there(send: Send, user: User, provider: Provider) -> None:
    provider.latency_s = 2
    reply = send(make_token(user)[1], EXECUTE, body(), prefer="respond-async, wait=0")
    assert (reply.status, reply.body["state"]) == (202, "running")
    eventually(lambda: Execution.objects.get().state == "completed")


@pytest.mark.parametrize(
    ("raw", "status", "code", "field"),
    [
        (b"", 400, "malformed_json", ""),
        (b"{", 400, "malformed_json", ""),
        (b"[]", 400, "not_an_object", ""),
        (b"{}", 400, "required", "input"),
        (b'{"input": 3}', 400, "not_an_object", "input"),
        (b'{"input": {"question": NaN}}', 400, "not_a_number", ""),
        (b'{"input": {"question": "a\\u0000"}}', 400, "unstorable_text", "input.question"),
        (b'{"input": {"question": "a\\ud800"}}', 400, "unstorable_text", "input.question"),
        (b'{"input": {"question": "\xff"}}', 400, "not_utf8", ""),
        (b'{"input": {"question": ' + b"[" * 5000 + b"]" * 5000 + b"}}", 400, "too_deep", None),
        (b'{"input": {}}', 400, "missing", "question"),
        (b'{"input": {"question": 1}}', 400, "wrong_type", "question"),
        (b'{"input": {"question": "?", "lm": 1}}', 400, "unknown_field", "lm"),
        (b'{"input": {"question": "?"}, "extra": 1}', 400, "unknown_field", "extra"),
        (b'{"input": {"question": "?"}, "options": {"mode": "later"}}', 400, "invalid_choice", "options.mode"),
        (b'{"input": {"question": "?"}, "options": {"mode": 3}}', 400, "not_a_string", "options.mode"),
        (b'{"input": {"question": "?"}, "options": {"temperature": "2"}}', 400, "unknown_field", "options.temperature"),
        (b'{"input": {"question": "' + b"x" * 1_000_001 + b'"}}', 413, "body_too_large", ""),
    ],
)
def test_bad_bodies_are_problems_and_nothing_happens(
    send: Send, user: User, provider: Provider, raw: bytes, status: int, code: str, field: str | None
) -> None:
    reply = send(make_token(user)[1], EXECUTE, raw)
    assert (reply.status, reply.body["status"]) == (status, status)
    assert reply.headers["content-type"] == "application/problem+json"
    assert code in [reply.body["code"], *(item["code"] for item in reply.body["errors"])]
    if field is not None:
        assert field in [item["field"] for item in reply.body["errors"]]
    assert not Execution.objects.exists()
    assert provider.requests == []


def test_who_is_unknown_gets_401(send: Send, user: User) -> None:
    reply = send("signet_deadbeef_nonsense", EXECUTE, body())
    assert (reply.status, reply.body["code"], reply.headers["www-authenticate"]) == (401, "token_unknown", "Bearer")
    assert not Execution.objects.exists()


def test_missing_and_not_yours_are_the_same_404(send: Send, user: User) -> None:
    make_program(name="hidden", status="testing")
    token = make_token(user)[1]
    missing = send(token, "/api/v1/programs/nothing/execute/", body())
    hidden = send(token, "/api/v1/programs/hidden@testing/execute/", body())
    assert (missing.status, missing.body) == (404, hidden.body)


def test_no_credits_is_402(send: Send, user: User) -> None:
    reply = send(make_token(make_user())[1], EXECUTE, body())
    assert (reply.status, reply.body["code"]) == (402, "insufficient_credits")


def test_a_key_makes_it_happen_once(send: Send, user: User, provider: Provider) -> None:
    token = make_token(user)[1]
    first = send(token, EXECUTE, body(), idempotency_key="k1")
    again = send(token, EXECUTE, body(), idempotency_key="k1")
    assert (again.status, again.body["id"], again.body["output"]) == (200, first.body["id"], first.body["output"])
    assert again.headers["idempotent-replayed"] == "true"
    other = send(token, EXECUTE, json.dumps({"input": {"question": "Else?"}}).encode(), idempotency_key="k1")
    assert (other.status, other.body["code"]) == (409, "idempotency_key_reused")
    stranger = send(make_token(make_user(credits=10))[1], EXECUTE, body(), idempotency_key="k1")
    assert stranger.body["id"] != first.body["id"]
    assert Execution.objects.count() == 2 == len(provider.requests)


def test_one_key_twenty_times_at_once_is_one_execution(user: User, provider: Provider) -> None:
    token = make_token(user)[1]
    provider.latency_s = 0.3
    here = process.ensure_started()

    async def one() -> Any:
        sent: list[Any] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": EXECUTE,
            "headers": [(b"authorization", f"Bearer {token}".encode()), (b"idempotency-key", b"twenty")],
        }

        async def receive() -> Any:
            return {"type": "http.request", "body": body()}

        async def send(message: Any) -> None:
            sent.append(message)

        await application(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"])

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(one() for _ in range(20)))

    replies = here.submit(all_at_once()).result(30)
    assert [status for status, _body in replies] == [200] * 20
    assert len({answer["id"] for _status, answer in replies}) == 1
    assert len({json.dumps(answer["output"]) for _status, answer in replies}) == 1
    assert Execution.objects.count() == 1 == len(provider.requests)


def client_of(user: User) -> Client:
    return Client(headers={"Authorization": f"Bearer {make_token(user)[1]}"})


def test_wait_ends_with_the_execution(user: User, provider: Provider, worker: Any) -> None:
    client = client_of(user)
    provider.latency_s = 0.5
    answered = client.post(EXECUTE, body(options={"mode": "async"}), content_type="application/json").json()
    response = client.get(f"/api/v1/executions/{answered['id']}/?wait=10")
    assert (response.status_code, response.json()["state"]) == (200, "completed")
    assert response.json()["output"] is not None


def test_cancel_of_a_pending_execution_is_immediate(user: User, provider: Provider) -> None:
    client = client_of(user)
    answered = client.post(EXECUTE, body(options={"mode": "async"}), content_type="application/json").json()
    response = client.post(f"/api/v1/executions/{answered['id']}/cancel/")
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    user.refresh_from_db()
    assert user.ml_credits == 10_000_000
    again = client.post(f"/api/v1/executions/{answered['id']}/cancel/")
    assert (again.status_code, again.json()["code"]) == (409, "execution_not_cancellable")
    assert provider.requests == []


def test_cancel_of_a_running_execution_takes_one_model_call(user: User, provider: Provider, worker: Any) -> None:
    client = client_of(user)
    provider.script(hang())
    answered = client.post(EXECUTE, body(options={"mode": "async"}), content_type="application/json").json()
    execution = Execution.objects.get(pk=answered["id"])
    eventually(lambda: provider.in_flight == 1)
    response = client.post(f"/api/v1/executions/{answered['id']}/cancel/")
    assert response.status_code == 202
    eventually(lambda: state_of(execution) == "cancelled", within_s=3)
    eventually(lambda: provider.in_flight == 0)
    user.refresh_from_db()
    assert user.ml_credits == 10_000_000


def test_strangers_see_nothing_of_it(user: User, provider: Provider) -> None:
    answered = client_of(user).post(EXECUTE, body(), content_type="application/json").json()
    stranger = client_of(make_user(credits=1))
    for path in ("", "events/"):
        assert stranger.get(f"/api/v1/executions/{answered['id']}/{path}").status_code == 404
    assert stranger.post(f"/api/v1/executions/{answered['id']}/cancel/").status_code == 404
    assert stranger.get("/api/v1/executions/").json()["results"] == []


def test_lists_are_light_and_filtered(user: User) -> None:
    client = client_of(user)
    for _ in range(3):
        client.post(EXECUTE, body(), content_type="application/json")
    page = client.get("/api/v1/executions/?program=answering&state=completed&page_size=2").json()
    assert len(page["results"]) == 2
    assert not {"input", "output", "trace"} & page["results"][0].keys()
    assert page["next"] is not None
    assert client.get("/api/v1/executions/?state=running").json()["results"] == []
    assert client.get("/api/v1/executions/?nonsense=1").status_code == 400


@pytest.mark.parametrize("bound", ["after", "before"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday"])
def test_moments_outside_the_calendar_are_refused(user: User, bound: str, moment: str) -> None:
    answer = client_of(user).get("/api/v1/executions/", {bound: moment})
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (400, [bound])


def test_feedback_and_replay(user: User, provider: Provider) -> None:
    client = client_of(user)
    answered = client.post(EXECUTE, body(), content_type="application/json").json()
    rated = client.post(
        "/api/v1/feedback/",
        {"execution_id": answered["id"], "name": "helpful", "score": 1},
        content_type="application/json",
    )
    assert (rated.status_code, rated.json()["score"]) == (201, 1.0)
    wrong = client.post(
        "/api/v1/feedback/",
        {"execution_id": answered["id"], "name": "helpful", "score": 7},
        content_type="application/json",
    )
    assert wrong.status_code == 400
    replayed = client.post(f"/api/v1/executions/{answered['id']}/replay/", {}, content_type="application/json")
    assert (replayed.status_code, replayed.json()["replay_of"]) == (202, answered["id"])
    assert replayed.json()["input"] == {"question": "Why?"}


def test_events_tell_the_present_state_first_and_end_with_the_last(user: User, provider: Provider, worker: Any) -> None:
    client, token = client_of(user), make_token(user)[1]
    provider.latency_s = 0.4
    answered = client.post(EXECUTE, body(options={"mode": "async"}), content_type="application/json").json()
    path = f"/api/v1/executions/{answered['id']}/events/"

    async def listen() -> str:
        response: Any = await AsyncClient().get(path, headers={"Authorization": f"Bearer {token}"})
        return "".join([chunk.decode() async for chunk in response.streaming_content])

    here = process.ensure_started()
    heard = here.submit(listen()).result(20)
    states = [json.loads(line[6:])["state"] for line in heard.splitlines() if line.startswith("data: ")]
    assert states[-1] == "completed"
    assert states == sorted(set(states), key=["pending", "running", "completed"].index)
