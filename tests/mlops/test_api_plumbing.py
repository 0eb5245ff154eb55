"""Bodies, errors, pages, orderings: what every REST collection stands on."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import LazySettings
from django.core.asgi import get_asgi_application
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import OperationalError, connection
from django.http import Http404, HttpRequest
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from executions.types import ExecutionState
from mlops import errors
from mlops.api import problems
from mlops.api.bodies import limit_body
from mlops.api.problems import problem_of
from mlops.errors import DomainError, Invalid, Problem
from mlops.models import User
from mlops.strict_json import parse_json
from tests.conftest import api_of
from tests.factories import make_language_model, make_user
from tests.graphql import asked, codes_of, data_of

Message = MutableMapping[str, Any]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Invalid, 400),
        (errors.Unauthenticated, 401),
        (errors.InsufficientCredits, 402),
        (errors.Forbidden, 403),
        (errors.NotFound, 404),
        (errors.Conflict, 409),
        (errors.Stale, 412),
        (errors.TooLarge, 413),
        (errors.Unavailable, 503),
    ],
)
def test_every_kind_of_refusal_has_its_status(error: type[DomainError], status: int) -> None:
    code, body, _headers = problem_of(error("some_code", "Some words.", field="a.b", extra={"limit": 3}))

    assert code == status
    assert body == {
        "limit": 3,
        "type": "urn:signet:problem:some_code",
        "title": body["title"],
        "status": status,
        "detail": "Some words.",
        "code": "some_code",
        "errors": [{"field": "a.b", "code": "some_code", "message": "Some words."}],
    }


def test_every_kind_of_refusal_is_in_the_table() -> None:
    assert set(DomainError.__subclasses__()) <= set(problems.STATUS)


def test_unavailable_says_when_to_come_back() -> None:
    assert problem_of(errors.Unavailable("busy", "Busy.", extra={"retry_after_s": 7}))[2] == {"Retry-After": "7"}
    assert problem_of(OperationalError("secret host"))[0] == 503
    assert "secret host" not in repr(problem_of(OperationalError("secret host")))


def test_what_nobody_foresaw_tells_nothing() -> None:
    status, body, _headers = problem_of(ZeroDivisionError("canary"))

    assert (status, body["code"], body["errors"]) == (500, "internal_error", [])
    assert "canary" not in repr(body)


def test_a_document_can_be_sent_whatever_it_quotes() -> None:
    body = problem_of(Invalid("bad", "not \ud800 good", problems=[Problem("bad", "\x00", "\udfff")]))[1]

    assert b"\x00" not in problems.encoded(body)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"\xff", "not_utf8"),
        ('{"a": "b"}'.encode("utf-16"), "not_utf8"),
        (b'{"a": NaN}', "not_a_number"),
        (b'{"a": -Infinity}', "not_a_number"),
        (b'{"a": 1e999}', "not_a_number"),
        (b'{"a": "\\u0000"}', "unstorable_text"),
        (b'{"a": "\\ud800"}', "unstorable_text"),
        (b'{"\\ud800": 1}', "unstorable_text"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b"[" * 33 + b"]" * 33, "too_deep"),
        (b"[" * 100_000, "too_deep"),
        (b"1" * 5_000, "malformed_json"),
    ],
)
def test_bad_json_is_refused(raw: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_json(raw)

    assert refusal.value.code == code


def test_good_json_is_itself() -> None:
    value = {"a": [1, 2.5, None, True, "ü😀"], "b": {"c": {}}}

    assert parse_json(json.dumps(value).encode()) == value


def test_a_bad_body_names_the_field(admin: User) -> None:
    response = api_of(admin).post("/api/v1/tokens/", b'{"name": "a\\u0000"}', content_type="application/json")

    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "name"
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_body_over_the_limit_is_413(admin: User, settings: LazySettings) -> None:
    settings.SIGNET_MAX_BODY_BYTES = 1000
    client = api_of(admin)

    exact = json.dumps({"name": "n" * 100}).encode().ljust(1000)
    assert client.post("/api/v1/tokens/", exact, content_type="application/json").status_code == 201
    response = client.post("/api/v1/tokens/", exact + b" ", content_type="application/json")

    assert (response.status_code, response.json()["code"], response.json()["limit"]) == (413, "body_too_large", 1000)


def test_other_media_methods_and_addresses_are_problems_too(admin: User) -> None:
    client = api_of(admin)

    answers = [
        client.post("/api/v1/tokens/", "name=x", content_type="text/plain"),
        client.put("/api/v1/tokens/", {}),
        client.get("/api/v1/nothing/"),
        client.get("/api/v1/users/not-a-uuid/"),
        client.get("/api/v1/users/00000000-0000-0000-0000-00000000000g/"),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (415, "unsupported_media_type"),
        (405, "method_not_allowed"),
        (404, "not_found"),
        (404, "not_found"),
        (404, "not_found"),
    ]


def test_an_unforeseen_error_is_a_500_problem_and_is_logged(
    admin: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(view: object, request: HttpRequest) -> None:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr("mlops.api.users.UserViewSet.me", broken)
    client = api_of(admin)
    client.raise_request_exception = False

    response = client.get("/api/v1/users/me/")

    assert response.status_code == 500
    assert "canary" not in response.content.decode()
    assert "canary" in caplog.text


@pytest.mark.django_db
def test_pages_follow_one_another_without_gap_or_repetition(erin: User) -> None:
    names = {make_language_model(name=f"openai/m{number:02}").name for number in range(25)}
    client = api_of(erin)

    for ordering in ("", "&ordering=name", "&ordering=-name"):
        seen: list[str] = []
        address: str | None = f"/api/v1/language-models/?page_size=10{ordering}"
        while address:
            page = client.get(address).json()
            seen += [row["name"] for row in page["results"]]
            address = page["next"]
        assert len(seen) == 25
        assert set(seen) == names
        if ordering:
            assert seen == sorted(names, reverse="-" in ordering)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("page_size=0", "page_size_invalid"),
        ("page_size=201", "page_size_invalid"),
        ("page_size=ten", "page_size_invalid"),
        ("page_size=²", "page_size_invalid"),
        ("page_size=" + "9" * 5000, "page_size_invalid"),
        ("cursor=nonsense", "cursor_invalid"),
        ("cursor=ü", "cursor_invalid"),
        ("cursor=W10", "cursor_invalid"),
        ("cursor=WyItaWQiXQ", "cursor_invalid"),
        ("cursor=W1siLWlkIl0sWyJ4Il1d", "cursor_invalid"),
        ("cursor=W1siLWlkIl0sWzFdXQ", "cursor_invalid"),
        ("ordering=secret", "ordering_unknown"),
        ("ordering=--name", "ordering_unknown"),
        ("ordering=created_at", "ordering_unknown"),
        ("colour=red", "unknown_parameter"),
        ("search=%00", "unstorable_text"),
        ("is_enabled=perhaps&kind=rope", "invalid_choice"),
    ],
)
def test_bad_query_parameters_are_400(erin: User, query: str, code: str) -> None:
    make_language_model()

    response = api_of(erin).get(f"/api/v1/language-models/?{query}")

    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.django_db
def test_a_cursor_belongs_to_its_ordering(erin: User) -> None:
    for _ in range(3):
        make_language_model()
    client = api_of(erin)
    cursor = client.get("/api/v1/language-models/?page_size=2").json()["next"].partition("cursor=")[2]

    response = client.get(f"/api/v1/language-models/?page_size=2&ordering=name&cursor={cursor.partition('&')[0]}")

    assert (response.status_code, response.json()["code"]) == (400, "cursor_invalid")


@pytest.mark.django_db
def test_filters_and_search(admin: User) -> None:
    make_user(username="dora", role="ml_engineer")
    client = api_of(admin)

    assert [row["username"] for row in client.get("/api/v1/users/?role=ml_engineer").json()["results"]] == ["dora"]
    assert [row["username"] for row in client.get("/api/v1/users/?search=dor").json()["results"]] == ["dora"]


LONG_SEARCHES = ["word " * 21, ",".join("abcdefghijklmnopqrstuvw"), "x" * 201]


@pytest.mark.django_db
@pytest.mark.parametrize("words", LONG_SEARCHES)
def test_a_search_of_many_words_is_refused_on_every_edge_and_asks_nothing(
    admin: User, client: Client, words: str
) -> None:
    rest, ask = api_of(admin), "query($words: String) { listUsers(search: $words) { edges { node { id } } } }"
    client.force_login(admin)

    with CaptureQueriesContext(connection) as captured:
        answer = rest.get("/api/v1/users/", {"search": words})
        told = asked(admin, ask, words=words)
        page = client.get("/admin/mlops/user/", {"q": words})
    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["code"], problem["field"]) == (400, "search_too_long", "search")
    assert codes_of(told) == ["search_too_long"]
    assert "A search has at most" in page.content.decode()
    assert not any("LIKE" in query["sql"] for query in captured)
    for edge in (rest.get("/api/v1/users/", {"search": "a " * 20}), client.get("/admin/mlops/user/", {"q": "a"})):
        assert edge.status_code == 200


@pytest.mark.django_db
def test_a_filter_takes_no_more_values_than_it_has_choices(admin: User) -> None:
    rest, ask = api_of(admin), "query($states: [String]) { listExecutions(state: $states) { edges { node { id } } } }"
    every = [state.value for state in ExecutionState]

    answer = rest.get("/api/v1/executions/", {"state": [*every, every[0]]})
    (problem,) = answer.json()["errors"]
    assert (answer.status_code, problem["code"], problem["field"]) == (400, "too_many_values", "state")
    assert codes_of(asked(admin, ask, states=every * 10_000)) == ["too_many_values"]
    assert rest.get("/api/v1/executions/", {"state": every}).status_code == 200
    assert data_of(admin, ask, states=every) == {"listExecutions": {"edges": []}}


@pytest.mark.django_db
def test_djangos_own_refusals_are_problems_under_the_api_and_pages_elsewhere(rf: RequestFactory) -> None:
    for path, content_type in (("/api/v1/x/", "application/problem+json"), ("/admin/x/", "text/html; charset=utf-8")):
        request = rf.get(path)
        answers = [
            (problems.bad_request(request, SuspiciousOperation()), 400),
            (problems.permission_denied(request, PermissionDenied()), 403),
            (problems.csrf_failure(request), 403),
            (problems.not_found(request, Http404()), 404),
            (problems.server_error(request), 500),
        ]
        for answer, status in answers:
            assert (answer.status_code, answer.headers["Content-Type"]) == (status, content_type)


@pytest.mark.django_db
def test_an_unknown_host_is_a_problem(client: Client) -> None:
    response = client.get("/api/v1/users/", HTTP_HOST="evil.example")

    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/problem+json"


# The counter around the ASGI application.


def _scope(headers: list[tuple[bytes, bytes]], path: str = "/api/v1/tokens/") -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), *headers],
    }


def _run(app: Any, scope: dict[str, Any], chunks: list[bytes]) -> tuple[list[Message], int]:
    """Messages that `app` sends, and how many chunks it took."""
    sent: list[Message] = []
    taken = 0

    async def receive() -> Message:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": chunks[taken - 1], "more_body": taken < len(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    async_to_sync(app)(scope, receive, send)
    return sent, taken


def test_a_body_without_a_length_is_counted_while_it_arrives(settings: LazySettings) -> None:
    settings.SIGNET_MAX_BODY_BYTES = 1000

    sent, taken = _run(limit_body(get_asgi_application()), _scope([]), [b"x" * 400] * 1_000)

    assert taken == 3
    assert sent[0]["status"] == 413
    assert dict(sent[0]["headers"])[b"content-type"] == b"application/problem+json"
    assert json.loads(sent[1]["body"])["code"] == "body_too_large"


def test_an_announced_length_over_the_limit_is_refused_unread(settings: LazySettings) -> None:
    settings.SIGNET_MAX_BODY_BYTES = 1000

    sent, taken = _run(limit_body(get_asgi_application()), _scope([(b"content-length", b"1001")]), [b"x"])

    assert (taken, sent[0]["status"]) == (0, 413)


def test_a_body_within_the_limit_arrives_whole(settings: LazySettings) -> None:
    settings.SIGNET_MAX_BODY_BYTES = 1000
    arrived = b""

    async def echo(
        scope: Any, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        nonlocal arrived
        more = True
        while more:
            message = await receive()
            arrived += message["body"]
            more = message["more_body"]

    _run(limit_body(echo), _scope([]), [b"x" * 500] * 2)

    assert arrived == b"x" * 1000


@pytest.mark.django_db
def test_health(client: Client, api: APIClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "missing": []}


@pytest.mark.django_db
def test_not_ready_names_what_is_missing(client: Client, settings: LazySettings) -> None:
    settings.SIGNET_IS_EMBEDDED = False
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"

    response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "missing": ["broker"]}
