"""Those who wait over HTTP, on a real server: they hold nothing, and lose their place with their right.

There is no worker, so an execution stays pending until somebody cancels it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from websockets.exceptions import ConnectionClosed

from tests import subscribing
from tests.executions.test_faults import EXECUTE, SEED
from tests.installation import Installation

pytestmark = pytest.mark.timeout(180)

WAITING = 100
PATIENCE_S = 20


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("streams"))
    try:
        installation.migrate()
        installation.python(SEED.format(fields={"api_base": "http://127.0.0.1:9/v1"}))
        installation.start_web()
        yield installation
    finally:
        installation.stop()


@pytest.fixture
def client(here: Installation, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with here.client(request.node.originalname) as asking:
        yield asking


def pending(client: httpx.Client) -> str:
    """The address of a new execution that nobody will run."""
    response = client.post(EXECUTE, json={"input": {"question": "Why?"}, "options": {"mode": "async"}})
    assert response.status_code == 202, response.text
    return str(response.headers["location"])


def waiting_client(client: httpx.Client) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=client.base_url, headers=client.headers, timeout=90, limits=limits)


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_hundreds_who_wait_hold_neither_threads_nor_connections(here: Installation, client: httpx.Client) -> None:
    server = psutil.Process(here.processes[0].pid)

    def held() -> tuple[int, int]:
        return server.num_threads(), sum(opened.path.endswith(".sqlite3") for opened in server.open_files())

    async def wait() -> tuple[list[str], list[str]]:
        async with waiting_client(client) as asking, AsyncExitStack() as stack:
            # What the server makes once it makes now: each thread of its pools, each with its connection.
            await asyncio.gather(*(asking.get(f"{address}?wait=1") for _ in range(WAITING)))
            before = held()
            streams = [
                await stack.enter_async_context(asking.stream("GET", f"{address}events/")) for _ in range(WAITING)
            ]
            heard = [events(stream) for stream in streams]
            first = [(await anext(one))["state"] for one in heard]
            polls = [asyncio.ensure_future(asking.get(f"{address}?wait=60")) for _ in range(WAITING)]
            await asyncio.sleep(2)
            assert not any(poll.done() for poll in polls)
            during = held()
            assert (during[0] <= before[0], during[1] <= before[1]) == (True, True), (before, during)
            assert (await asking.post(f"{address}cancel/")).status_code == 200
            last = [(await anext(one))["state"] for one in heard]
            return first + last, [(await poll).json()["state"] for poll in polls]

    address = pending(client)
    told, answered = asyncio.run(wait())

    assert told == ["pending"] * WAITING + ["cancelled"] * WAITING
    assert answered == ["cancelled"] * WAITING


def test_a_subscriber_hears_what_happens_until_the_end(client: httpx.Client) -> None:
    address = pending(client)
    token, key = client.headers["Authorization"].split()[1], address.split("/")[-2]

    async def listen() -> list[Any]:
        async with subscribing.connected(str(client.base_url), token) as socket:
            await subscribing.subscribe(socket, subscribing.UPDATES, execution=key)
            first = await subscribing.update(socket)
            await asyncio.to_thread(client.post, f"{address}cancel/")
            return [first, await subscribing.update(socket), await subscribing.hear(socket)]

    assert asyncio.run(listen()) == [
        {"id": key, "state": "pending", "revision": 1, "output": None},
        {"id": key, "state": "cancelled", "revision": 2, "output": None},
        {"type": "complete", "id": "1"},
    ]


def test_a_page_subscribes_with_its_session(here: Installation, client: httpx.Client) -> None:
    """The only credentials that a browser has there; a page of another origin has none."""
    key = pending(client).split("/")[-2]
    here.python(
        "from mlops.models import User; User.objects.create_user('frank', password='long enough', role='admin')"
    )
    with httpx.Client(base_url=here.address, follow_redirects=True) as browser:
        browser.get("/admin/login/")
        login = {"username": "frank", "password": "long enough", "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post("/admin/login/?next=/admin/", data=login, headers={"Referer": here.address})
        cookie = f"sessionid={browser.cookies['sessionid']}"

    async def listen(origin: str) -> Any:
        async with subscribing.connected(here.address, headers={"Cookie": cookie, "Origin": origin}) as socket:
            await subscribing.subscribe(socket, subscribing.UPDATES, execution=key)
            return (await subscribing.update(socket))["state"]

    assert asyncio.run(listen(here.address)) == "pending"
    with pytest.raises(ConnectionClosed) as refusal:
        asyncio.run(listen("http://evil.example"))
    assert refusal.value.rcvd is not None
    assert refusal.value.rcvd.code == 4403


def test_a_slow_subscriber_is_dropped_by_the_server(here: Installation, client: httpx.Client) -> None:
    """It asks and does not read; what it finds once it reads again ends with the code to come again."""
    token = client.headers["Authorization"].split()[1]
    told_back = f"subscription {{ {'x' * 900_000} }}"
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", here.web_port))

    async def flood() -> None:
        async with subscribing.connected(here.address, token, sock=narrow, compression=None) as slow:
            slow.transport.pause_reading()
            for number in range(19):
                await subscribing.say(slow, type="subscribe", id=str(number), payload={"query": told_back})
            for _ in range(500):
                await subscribing.say(slow, type="ping")
            assert (await asyncio.to_thread(client.get, "/healthz")).status_code == 200
            slow.transport.resume_reading()
            while True:
                await subscribing.hear(slow)

    with pytest.raises(ConnectionClosed) as end:
        asyncio.run(flood())
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1013


def test_a_reader_goes_on_after_the_last_event_it_saw(client: httpx.Client) -> None:
    address = pending(client)
    with client.stream("GET", f"{address}events/") as stream:
        first = next(line for line in stream.iter_lines() if line.startswith("id: "))
    revision = int(first[4:])
    client.post(f"{address}cancel/")

    text = client.get(f"{address}events/", headers={"Last-Event-ID": str(revision)}).text

    changes = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [(change["state"], change["revision"]) for change in changes] == [("cancelled", revision + 1)]
    # Who has heard the end already, or more than there was, is told so once more, and not left waiting.
    for heard in (revision + 1, revision + 99):
        again = client.get(f"{address}events/", headers={"Last-Event-ID": str(heard)}, timeout=10).text
        assert again.count("data: ") == 1


def test_a_stream_ends_with_its_token(here: Installation, client: httpx.Client) -> None:
    address = pending(client)
    raw = client.headers["Authorization"].split()[1]
    revoke = f"""
from mlops.models import ApiToken
from mlops.services.history import operator
from mlops.services.tokens import revoke_token
revoke_token(actor=operator(), token=ApiToken.objects.get(prefix={raw.split("_")[1]!r}))
"""
    with client.stream("GET", f"{address}events/", timeout=PATIENCE_S) as stream:
        lines = stream.iter_lines()
        assert any(line.startswith("data: ") for line in lines)
        here.python(revoke)
        rest = "".join(lines)

    assert "data: " not in rest
    assert client.get(address).status_code == 401


def test_a_poll_that_outlives_its_token_is_refused(here: Installation, client: httpx.Client) -> None:
    address = pending(client)
    raw = client.headers["Authorization"].split()[1]

    async def poll() -> int:
        async with waiting_client(client) as asking:
            answered = asyncio.ensure_future(asking.get(f"{address}?wait=12"))
            await asyncio.to_thread(
                here.python,
                "from django.utils import timezone; from mlops.models import ApiToken; "
                f"ApiToken.objects.filter(prefix={raw.split('_')[1]!r}).update(revoked_at=timezone.now())",
            )
            assert not answered.done()
            return (await answered).status_code

    assert asyncio.run(poll()) == 401


@pytest.mark.parametrize(
    "withdraw",
    [
        "from django.contrib.sessions.models import Session; Session.objects.all().delete()",
        "from mlops.models import User; User.objects.filter(username='erin').update(is_active=False)",
    ],
    ids=["logged out", "deactivated"],
)
def test_a_stream_of_a_session_ends_with_it(here: Installation, client: httpx.Client, withdraw: str) -> None:
    address = pending(client)
    here.python(
        "from mlops.models import User; erin, _ = User.objects.get_or_create(username='erin', role='ml_engineer'); "
        "erin.set_password('a-long-password'); erin.save()"
    )
    with httpx.Client(base_url=here.address, timeout=PATIENCE_S, follow_redirects=True) as browser:
        browser.get("/admin/login/")
        login = {"username": "erin", "password": "a-long-password", "next": "/admin/"}
        login["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        assert browser.post("/admin/login/", data=login, headers={"Referer": here.address}).status_code == 200
        with browser.stream("GET", f"{address}events/") as stream:
            lines = stream.iter_lines()
            assert any(line.startswith("data: ") for line in lines)
            here.python(withdraw)
            rest = "".join(lines)
        assert "data: " not in rest
        assert browser.get(address).status_code in (401, 403)
