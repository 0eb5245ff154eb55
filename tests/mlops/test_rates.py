"""Requests per minute: exact, for a token and a user, across processes, and no reason to fall over without Redis."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from pytest_django import Settings
from redis import Redis, RedisError
from rest_framework.test import APIClient

from mlops.errors import TooMany
from mlops.models import User
from mlops.services import rates
from mlops.services.rates import acheck_rate, check_rate
from mlops.services.tokens import authenticate_token
from mlops.services.users import update_user
from tests.conftest import api_of
from tests.factories import make_token
from tests.installation import Installation, eventually, free_port, production, redis_server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_outage() -> Iterator[None]:
    """An outage is remembered by the process; the next test has another Redis."""
    yield
    rates._outage = rates._Outage()


@pytest.fixture
def redis_url(settings: Settings, tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as port:
        settings.SIGNET_REDIS_URL = f"redis://127.0.0.1:{port}/2"
        with Redis(port=port) as redis:
            eventually(lambda: answers(redis))
        yield settings.SIGNET_REDIS_URL


def answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def actor_with(user: User, **limits: Any) -> User:
    """Who comes with a new token."""
    actor = authenticate_token(make_token(user, **limits)[1])
    assert actor is not None
    return actor


def accepted(actor: User, requests: int) -> int:
    """How many of so many requests are let through, half of them from an event loop."""
    return sum(passes(actor, on_loop=bool(number % 2)) for number in range(requests))


def passes(actor: User, *, on_loop: bool = False) -> bool:
    try:
        async_to_sync(acheck_rate)(actor) if on_loop else check_rate(actor)
    except TooMany:
        return False
    return True


@pytest.mark.django_db
@pytest.mark.parametrize("over", ["memory", "redis"])
def test_exactly_as_many_requests_as_the_limit_are_let_through(
    alice: User, over: str, request: pytest.FixtureRequest
) -> None:
    if over == "redis":
        request.getfixturevalue("redis_url")
    actor = actor_with(alice, rate_limit=7)

    assert accepted(actor, 20) == 7


@pytest.mark.django_db
def test_a_user_is_limited_over_all_tokens_and_a_token_by_itself(alice: User, bob: User, settings: Settings) -> None:
    settings.SIGNET_RATE_LIMIT = 10
    narrow, other = actor_with(alice, rate_limit=3), actor_with(alice)

    assert [accepted(narrow, 5), accepted(other, 20), accepted(actor_with(bob), 20)] == [3, 7, 10]


@pytest.mark.django_db
def test_what_the_user_s_limit_refuses_uses_up_nothing_of_the_token_s(alice: User) -> None:
    alice.rate_limit = 2
    alice.save()
    used_up, fresh = actor_with(alice), actor_with(alice, rate_limit=5)
    assert accepted(used_up, 2) == 2
    assert accepted(fresh, 9) == 0

    fresh.rate_limit = None  # as when an admin takes the limit away

    assert accepted(fresh, 9) == 5


@pytest.mark.django_db
def test_an_account_s_own_limit_stands_before_the_installation_s(admin: User, alice: User, settings: Settings) -> None:
    settings.SIGNET_RATE_LIMIT = 2
    update_user(actor=admin, user=alice, fields={"rate_limit": 4})

    assert accepted(actor_with(alice), 9) == 4


@pytest.mark.django_db
def test_without_a_limit_nothing_is_counted(alice: User, settings: Settings) -> None:
    settings.SIGNET_REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"  # where nobody is: asking would be an outage

    assert accepted(actor_with(alice), 50) == 50
    assert not rates._outage.lasts()


@pytest.mark.django_db
def test_the_refusal_says_when_to_come_again(alice: User, settings: Settings) -> None:
    settings.SIGNET_RATE_LIMIT = 1
    client = api_of(alice)
    client.get("/api/v1/users/me/")

    response = client.get("/api/v1/users/me/")

    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert response["Content-Type"] == "application/problem+json"
    assert 55 <= int(response["Retry-After"]) <= 60
    assert (response.json()["limit"], response.json()["of"]) == (1, "user")


@pytest.mark.django_db
def test_sessions_are_counted_too_and_strangers_are_not(erin: User, api: APIClient, settings: Settings) -> None:
    settings.SIGNET_RATE_LIMIT = 2
    assert [api.get("/api/v1/users/me/").status_code for _ in range(4)] == [401] * 4
    api.force_login(erin)

    assert [api.get("/api/v1/users/me/").status_code for _ in range(4)] == [200, 200, 429, 429]


@pytest.mark.django_db
@pytest.mark.parametrize("on_loop", [False, True])
def test_when_redis_is_away_requests_pass_and_one_line_says_so(
    alice: User, settings: Settings, caplog: pytest.LogCaptureFixture, on_loop: bool
) -> None:
    settings.SIGNET_REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    actor = actor_with(alice, rate_limit=1)

    with caplog.at_level(logging.WARNING, logger="mlops.services.rates"):
        assert [passes(actor, on_loop=on_loop) for _ in range(5)] == [True] * 5

    assert len(caplog.records) == 1
    assert "not counted" in caplog.text


COUNT = """
import asyncio, sys, django
django.setup()
from mlops.errors import TooMany
from mlops.models import User
from mlops.services.rates import acheck_rate, check_rate
from mlops.types import Grant, Scope
from uuid import UUID

actor = User(pk=UUID(int=1))
actor.grant = Grant(UUID(int=2), frozenset(Scope), frozenset(), 25)
sys.stdin.readline()

async def try_all():
    async def one():
        try:
            await acheck_rate(actor)
        except TooMany:
            return 0
        return 1
    return sum(await asyncio.gather(*(one() for _ in range(40))))

print(asyncio.run(try_all()), flush=True)
"""


def test_processes_count_together(tmp_path: Path) -> None:
    """Two processes, 40 requests each at once, one limit of 25."""
    with redis_server(tmp_path) as port:
        here = Installation(tmp_path, redis_port=port)
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", COUNT],
                cwd=ROOT,
                env={**here.variables, "DJANGO_SETTINGS_MODULE": "config.settings"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        counts = [int(process.communicate(timeout=90)[0].split()[-1]) for process in processes]

    assert sum(counts) == 25


@pytest.mark.timeout(240)
def test_two_servers_let_through_exactly_as_many_as_the_limit_on_every_edge(tmp_path: Path) -> None:
    """REST, the lean route of execute, a view that waits and a stream, spread over two servers."""
    with production(tmp_path) as first:
        second = Installation(tmp_path, first.database, redis_port=first.redis_port)
        token = first.manage("create_token", "erin", "--role", "ml_engineer", "--rate-limit", "12").split()[-1]
        try:
            first.start_web()
            second.start_web()
            statuses = asyncio.run(_asked([first.address, second.address], token))
        finally:
            second.stop()

    assert statuses[429] == 40 - 12
    assert sum(statuses.values()) == 40


async def _asked(addresses: list[str], token: str) -> Counter[int]:
    nobody = "00000000-0000-7000-8000-000000000000"
    paths = [
        ("GET", "/api/v1/users/me/"),
        ("POST", "/api/v1/programs/none/execute/"),
        ("GET", f"/api/v1/executions/{nobody}/?wait=1"),
        ("GET", f"/api/v1/executions/{nobody}/events/"),
    ]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        answers = await asyncio.gather(
            *(
                client.request(method, f"{addresses[number % 2]}{path}", json={"input": {}})
                for number in range(10)
                for method, path in paths
            )
        )
    for answer in answers:
        assert answer.status_code in (200, 404, 429), answer.text
        assert (answer.status_code == 429) == ("retry-after" in answer.headers)
    return Counter(answer.status_code for answer in answers)
