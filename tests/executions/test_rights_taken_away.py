"""Rights that another process takes away: open streams and subscriptions end, the next request is refused, whoever
keeps a right stays.

One real server, and one other process that changes everything at once and goes on changing a row that is watched, so
that its stream never falls silent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from django.core.exceptions import RequestAborted
from django.http import HttpRequest

from mlops.api import streams
from mlops.api.streams import StandingRight, while_allowed
from mlops.errors import NotFound
from mlops.models import User
from tests import subscribing
from tests.executions.test_faults import EXECUTE, SEED
from tests.installation import Installation

pytestmark = pytest.mark.timeout(300)

WITHIN_S = 5.0
SLACK_S = 3.0
"""What a busy machine may add to the promise."""

PASSWORD = "a-long-password"

ROWS = f"""
import json
from datetime import timedelta
from django.contrib.auth.models import Group
from django.utils import timezone
from executions.models import Execution
from mlops.models import User
from mlops.services.tokens import create_token
from programs.models import Program, PromptSet
from programs.services import choose_prompt_set

program = Program.objects.get(name="answering")
prompts = choose_prompt_set(program, "")
inside = Program.objects.create(name="inside", group=Group.objects.create(name="few"))
of_few = PromptSet.objects.create(program=inside, digest="few")

def execution(of, prompt_set):
    row = Execution(user=other, program=of, prompt_set=prompt_set, mode="async", source="rest", input={{}})
    row.save()
    return str(row.pk)

other = User.objects.create_user("other", role="admin")
found = {{}}
for name in ("revoked", "expired", "deactivated", "lowered", "left", "busy", "kept", "session", "password"):
    user = User.objects.create_user(name, password={PASSWORD!r}, role="ml_engineer")
    token, raw = create_token(actor=user, user=user, name=name)
    user.groups.add(inside.group)
    seen = execution(inside, of_few) if name == "left" else execution(program, prompts)
    found[name] = {{"token": raw, "execution": seen}}
print(json.dumps(found))
"""

TAKE_AWAY = """
import time
from datetime import timedelta
from django.contrib.sessions.models import Session
from django.db.models import F
from django.utils import timezone
from executions.models import Execution
from mlops.models import ApiToken, User
from mlops.services import groups, tokens, users
from mlops.services.history import operator
from django.contrib.auth.models import Group

boss, busy = operator(), Execution.objects.filter(pk={busy!r})
of = lambda name: User.objects.get(username=name)
bump = lambda: busy.update(revision=F("revision") + 1)
bump()
for name in ("revoked", "busy"):
    tokens.revoke_token(actor=boss, token=ApiToken.objects.get(user=of(name)))
ApiToken.objects.filter(user=of("expired")).update(expires_at=timezone.now())
users.deactivate_user(actor=boss, user=of("deactivated"))
users.deactivate_user(actor=boss, user=of("session"))
users.update_user(actor=boss, user=of("lowered"), fields={{"role": "ml_user"}})
few = Group.objects.get(name="few")
groups.update_group(actor=boss, group=few, members=few.user_set.exclude(username="left"))
users.set_password(actor=boss, user=of("password"), password="another-long-password")
done = time.time()
while time.time() < done + 9:
    bump()
    time.sleep(0.1)
print(done)
"""


@dataclass
class Reader:
    """Somebody with an open stream of events and a subscription to the same."""

    client: httpx.AsyncClient
    execution: str
    heard: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    ended: float = 0.0
    unsubscribed: float = 0.0

    @property
    def address(self) -> str:
        return f"/api/v1/executions/{self.execution}/"

    async def read(self, listening: asyncio.Event) -> None:
        async with self.client.stream("GET", f"{self.address}events/") as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    self.heard.append((time.time(), json.loads(line[6:])))
                    listening.set()
        self.ended = time.time()

    async def follow(self, listening: asyncio.Event) -> None:
        token = self.client.headers.get("Authorization", "").removeprefix("Bearer ")
        address = str(self.client.base_url)
        cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
        headers = {} if token else {"Cookie": cookies, "Origin": address}
        async with subscribing.connected(address, token, headers) as socket:
            await subscribing.subscribe(socket, subscribing.UPDATES, execution=self.execution)
            while (message := await subscribing.hear(socket))["type"] == "next":
                self.heard.append((time.time(), message["payload"]))
                listening.set()
        assert message["type"] == "error", message
        self.unsubscribed = time.time()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("rights"))
    try:
        installation.migrate()
        installation.python(SEED.format(fields={"api_base": "http://127.0.0.1:9/v1"}))
        installation.start_web()
        yield installation
    finally:
        installation.stop()


async def reader_of(here: Installation, name: str, row: dict[str, str]) -> Reader:
    client = httpx.AsyncClient(base_url=here.address, timeout=60, follow_redirects=True)
    if name not in ("session", "password"):
        client.headers["Authorization"] = f"Bearer {row['token']}"
        return Reader(client, row["execution"])
    await client.get("/admin/login/")
    form = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    answer = await client.post("/admin/login/?next=/admin/", data=form, headers={"Referer": here.address})
    assert "/login/" not in str(answer.url)
    return Reader(client, row["execution"])


def test_what_another_process_takes_away_is_gone_everywhere(here: Installation) -> None:
    rows = json.loads(here.python(ROWS).splitlines()[-1])

    async def watched() -> tuple[dict[str, Reader], float, dict[str, list[int]]]:
        readers = {name: await reader_of(here, name, row) for name, row in rows.items()}
        begun = {name: asyncio.Event() for name in readers}
        followed = {name: asyncio.Event() for name in readers}
        reading = {name: asyncio.create_task(one.read(begun[name])) for name, one in readers.items()}
        following = {name: asyncio.create_task(one.follow(followed[name])) for name, one in readers.items()}
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in (*begun.values(), *followed.values()))), 60)
        printed = await asyncio.to_thread(here.python, TAKE_AWAY.format(busy=rows["busy"]["execution"]))
        for tasks in (reading, following):
            assert not tasks["kept"].done()
            tasks["kept"].cancel()
            await asyncio.wait_for(asyncio.gather(*(tasks[name] for name in readers if name != "kept")), 30)
        after = {name: await statuses(one) for name, one in readers.items()}
        for one in readers.values():
            await one.client.aclose()
        return readers, float(printed.split()[-1]), after

    readers, taken, after = asyncio.run(watched())

    late = {name: max(one.ended, one.unsubscribed) - taken for name, one in readers.items() if name != "kept"}
    assert {name: s for name, s in late.items() if s > WITHIN_S + SLACK_S} == {}
    assert max(at for at, _ in readers["busy"].heard) - taken <= WITHIN_S + SLACK_S
    assert after == {
        "revoked": [401, 401],
        "expired": [401, 401],
        "deactivated": [401, 401],
        "busy": [401, 401],
        "lowered": [404, 400],  # it may execute what is in production, but no more look at the work of others
        "left": [404, 400],
        "kept": [200, 400],
        "session": [401, 401],
        "password": [401, 401],
    }


async def statuses(reader: Reader) -> list[int]:
    """Of a look at the execution and of an execute whose input is wrong, through the lean route for tokens."""
    looked = await reader.client.get(reader.address)
    executed = await reader.client.post(EXECUTE, json={"input": {"no such field": 1}})
    return [looked.status_code, executed.status_code]


@pytest.mark.parametrize("allowed", [0, 3])
def test_a_download_is_cut_off_with_its_right(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """It must not end as if it were whole, and what reads the rows must be closed."""
    monkeypatch.setattr(streams, "RECHECK_S", 0.0)
    asked: list[User] = []
    closed: list[bool] = []

    async def somebody(request: HttpRequest) -> User:
        return User(username="reader")

    def access(actor: User) -> None:
        asked.append(actor)
        if len(asked) > allowed:
            raise NotFound("dataset_not_found", "There is no such row.")

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"row\n"
        finally:
            closed.append(True)

    got: list[bytes] = []

    async def download() -> None:
        async for piece in while_allowed(StandingRight(HttpRequest(), access), pieces()):
            got.append(piece)

    monkeypatch.setattr(streams, "actor_by_now", somebody)

    with pytest.raises(RequestAborted):
        asyncio.run(download())
    assert got == [b"row\n"] * allowed
    assert closed == [True]
