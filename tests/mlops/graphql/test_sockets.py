"""The protocol of subscriptions, in good and in bad order; what they tell is tested with the rows they tell of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from executions.models import Execution
from mlops.graphql import connected, outbox, sockets
from mlops.models import ApiToken, User
from mlops.services.database import off_the_loop
from mlops.services.nudges import nudge
from mlops.services.watching import Change, watchers_of
from tests.executions.rows import make_prompt_set, new_execution
from tests.factories import make_token
from tests.sockets import Conversation

INIT = {"type": "connection_init"}
UPDATES = "subscription($id: ID) { executionUpdates(executionId: $id) { id state revision } }"


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def execution_of(user: User) -> Execution:
    row = new_execution(user, make_prompt_set(f"watched-{uuid4().hex[:8]}"), mode="async")
    row.save()
    return row


async def change(row: Execution, **values: Any) -> None:
    """As another process does it."""
    await off_the_loop(lambda: Execution.objects.filter(pk=row.pk).update(**values))
    nudge(Execution)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("{", 4400),
        ("[]", 4400),
        ("null", 4400),
        ('"connection_init"', 4400),
        ("[" * 100_000, 4400),
        ('{"type": NaN}', 4400),
        ('{"type": "ping", "payload": "\\u0000"}', 4400),
        (b'{"type": "ping"}', 4400),
        ({}, 4400),
        ({"type": None}, 4400),
        ({"type": ["ping"]}, 4400),
        ({"type": "start"}, 4400),
        ({"type": "connection_ack"}, 4400),
        ({"type": "ping", "payload": "text"}, 4400),
        ({"type": "connection_init", "payload": "text"}, 4400),
        ({"type": "connection_init", "payload": {"Authorization": 7}}, 4400),
        ({"type": "connection_init", "payload": {"Authorization": ["Bearer x"]}}, 4400),
        ({"type": "connection_init", "payload": {"Authorization": "Basic x"}}, 4403),
        ({"type": "connection_init", "payload": None}, 4401),
        ({"type": "connection_init", "payload": {"token": "signet_x"}}, 4401),
        (INIT, 4401),
        ({"type": "subscribe", "id": "1", "payload": {"query": "subscription { x }"}}, 4401),
        (" " * 1_000_001, 1009),
    ],
)
def test_whoever_says_something_else_is_disconnected(said: Any, code: int) -> None:
    async def talk() -> Any:
        async with Conversation() as one:
            one.say(said)
            return await one.hear()

    assert run(talk()) == code


def test_pings_are_answered_before_anything_else_and_pongs_are_not() -> None:
    async def talk() -> None:
        async with Conversation() as one:
            one.say({"type": "pong"})
            one.say({"type": "ping", "payload": {"n": 1}})
            assert await one.hear() == {"type": "pong"}
            one.say({"type": "complete", "id": "never begun"})
            one.say({"type": "ping"})
            assert await one.hear() == {"type": "pong"}
            assert one.nothing_heard()

    run(talk())


@pytest.mark.parametrize("protocols", [(), ("graphql-ws",)])
def test_another_protocol_is_not_spoken(protocols: tuple[str, ...]) -> None:
    async def talk() -> Any:
        async with Conversation(protocols=protocols) as one:
            assert one.opened == {"type": "websocket.accept", "subprotocol": None}
            return await one.hear()

    assert run(talk()) == 4406


@pytest.mark.parametrize("where", [{"headers": {"host": "evil.example"}}, {"path": "/graphql/"}, {"path": "/ws/"}])
def test_elsewhere_nobody_opens(where: dict[str, Any]) -> None:
    async def talk() -> Any:
        async with Conversation(**where) as one:
            return one.opened["type"]

    assert run(talk()) == "websocket.close"


def test_silence_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "INIT_S", 0.01)

    async def talk() -> Any:
        async with Conversation() as one:
            return await one.hear()

    assert run(talk()) == 4408


@pytest.mark.django_db(transaction=True)
def test_operations_by_the_protocol(erin: User) -> None:
    """Whatever a subscription does wrong, its connection goes on unless the protocol ends it."""
    token, row = make_token(erin)[1], execution_of(erin)

    async def talk() -> None:
        async with Conversation() as one:
            await one.introduce(token)
            assert await errors_of(one, "query { listPrograms { edges { node { id } } } }") == [
                "graphql_not_a_subscription"
            ]
            mutation = 'mutation { cancelExecution(input: {execution: "x"}) { errors { code } } }'
            assert await errors_of(one, mutation) == ["graphql_not_a_subscription"]
            assert await errors_of(one, "subscription {") == ["graphql_invalid"]
            assert await errors_of(one, "subscription { nothing }") == ["graphql_invalid"]
            assert await errors_of(one, UPDATES, operationName="Unknown") == ["graphql_invalid"]
            assert await errors_of(one, UPDATES, variables={"id": [1]}) == ["graphql_invalid"]
            skipped = "subscription { executionUpdates @skip(if: true) { id } }"
            assert await errors_of(one, skipped) == ["graphql_invalid"]
            maybe = "subscription($id: ID, $s: Boolean!) { executionUpdates(executionId: $id) @skip(if: $s) { state } }"
            assert await errors_of(one, maybe) == ["graphql_invalid"]
            assert await errors_of(one, maybe, variables={"s": True}) == ["graphql_invalid"]
            assert await errors_of(one, UPDATES) == ["subject_ambiguous"]
            assert await errors_of(one, UPDATES, variables={"id": "no uuid"}) == ["execution_not_found"]
            assert await errors_of(one, UPDATES, variables={"id": str(uuid4())}) == ["execution_not_found"]
            deep = "subscription { executionUpdates { " + "replayOf { " * 20 + "id" + " }" * 22
            assert await errors_of(one, deep) == ["graphql_too_deep"]

            spread = """subscription($id: ID, $s: Boolean!) { ...A @include(if: $s) }
                fragment A on Subscription { executionUpdates(executionId: $id) { state } }"""
            for conditional, is_asked in ((maybe, False), (spread, True)):
                one.subscribe(conditional, variables={"id": str(row.pk), "s": is_asked})
                assert (await one.hear())["payload"]["data"] == {"executionUpdates": {"state": "pending"}}
                one.say({"type": "complete", "id": "1"})

            # The id of what has ended is free, also right after its client has ended it.
            for _again in range(3):
                one.subscribe(UPDATES, variables={"id": str(row.pk)})
                assert (await one.hear())["payload"]["data"]["executionUpdates"]["state"] == "pending"
                one.say({"type": "complete", "id": "1"})
            one.subscribe(UPDATES, variables={"id": str(row.pk)})
            one.say({"type": "complete", "id": "1"})
            one.subscribe(UPDATES, variables={"id": str(row.pk)})
            assert (await one.hear())["id"] == "1"
            await change(row, state="completed", revision=7)
            assert (await one.hear())["payload"]["data"]["executionUpdates"] == {
                "id": str(row.pk), "state": "completed", "revision": 7,
            }  # fmt: skip
            assert await one.hear() == {"type": "complete", "id": "1"}
            # Of what has ended the last state is told once more.
            one.subscribe(UPDATES, variables={"id": str(row.pk)})
            assert [(await one.hear())["type"], (await one.hear())["type"]] == ["next", "complete"]
            assert one.nothing_heard()

    run(talk())


async def errors_of(one: Conversation, query: str, **payload: Any) -> list[str]:
    one.subscribe(query, id="wrong", **payload)
    answer = await one.hear()
    assert (answer["type"], answer["id"]) == ("error", "wrong"), answer
    return [error["extensions"]["code"] for error in answer["payload"]]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (INIT, 4429),
        ({"type": "subscribe", "id": "1", "payload": {"query": UPDATES}}, 4409),
        ({"type": "subscribe", "payload": {"query": UPDATES}}, 4400),
        ({"type": "subscribe", "id": 2, "payload": {"query": UPDATES}}, 4400),
        ({"type": "subscribe", "id": "", "payload": {"query": UPDATES}}, 4400),
        ({"type": "subscribe", "id": "2"}, 4400),
        ({"type": "subscribe", "id": "2", "payload": None}, 4400),
        ({"type": "subscribe", "id": "2", "payload": "subscription"}, 4400),
        ({"type": "subscribe", "id": "2", "payload": {"query": None}}, 4400),
        ({"type": "subscribe", "id": "2", "payload": {"query": UPDATES, "variables": "x"}}, 4400),
        ({"type": "subscribe", "id": "2", "payload": {"query": UPDATES, "operationName": 1}}, 4400),
        ({"type": "complete"}, 4400),
    ],
)
def test_faults_of_those_who_are_known(erin: User, said: Any, code: int) -> None:
    token, row = make_token(erin)[1], execution_of(erin)

    async def talk() -> Any:
        async with Conversation() as one:
            await one.introduce(token)
            one.subscribe(UPDATES, variables={"id": str(row.pk)})
            await one.hear()
            one.say(said)
            return await one.hear()

    assert run(talk()) == code


@pytest.mark.django_db(transaction=True)
def test_limits_of_operations_and_connections(erin: User, bob: User, settings: Any) -> None:
    settings.SIGNET_OPERATIONS_PER_CONNECTION = 3
    settings.SIGNET_CONNECTIONS_PER_USER = 2
    token, of_bob, row = make_token(erin)[1], make_token(bob)[1], execution_of(erin)

    async def talk() -> None:
        async with Conversation() as first, Conversation() as third, Conversation() as other:
            await first.introduce(token)
            async with Conversation() as second:
                await second.introduce(token)
                third.say({**INIT, "payload": {"Authorization": f"Bearer {token}"}})
                assert await third.hear() == 4429
                await other.introduce(of_bob)
            async with Conversation() as again:
                await again.introduce(token)  # the place of one who has left
            for number in range(1_000):
                first.subscribe(UPDATES, id=str(number), variables={"id": str(row.pk)})
            heard = [await first.hear() for _ in range(1_000)]
            refused = [one for one in heard if one["type"] == "error"]
            assert {error["extensions"]["code"] for one in refused for error in one["payload"]} == {
                "too_many_operations"
            }
            assert len(refused) == 997
            assert sorted(one["id"] for one in heard if one["type"] == "next") == ["0", "1", "2"]

    run(talk())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("origin", "heard"),
    [
        ("http://testserver", {"type": "connection_ack"}),
        ("https://signet.example.org", {"type": "connection_ack"}),
        ("https://a.wild.example", {"type": "connection_ack"}),
        ("http://a.wild.example", 4403),
        ("http://testserver:8000", 4403),
        ("https://testserver", 4403),
        ("http://evil.example", 4403),
        ("http://[", 4403),
        ("null", 4403),
        (None, 4403),
    ],
)
def test_a_session_counts_for_pages_of_this_site(erin: User, settings: Any, origin: str | None, heard: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://signet.example.org", "https://*.wild.example"]
    headers = {"cookie": cookie_of(erin), **({"origin": origin} if origin else {})}

    async def talk() -> Any:
        async with Conversation(headers=headers) as one:
            one.say(INIT)
            return await one.hear()

    assert run(talk()) == heard


def cookie_of(user: User) -> str:
    browser = Client()
    browser.force_login(user)
    name = django_settings.SESSION_COOKIE_NAME
    return f"{name}={browser.cookies[name].value}"


@pytest.mark.django_db(transaction=True)
def test_a_foreign_page_may_use_a_token_and_a_wrong_token_no_session(erin: User) -> None:
    token, headers = make_token(erin)[1], {"origin": "http://evil.example", "cookie": cookie_of(erin)}

    async def talk() -> Any:
        async with Conversation(headers=headers) as one:
            await one.introduce(token)
        async with Conversation(headers={"cookie": headers["cookie"], "origin": "http://testserver"}) as one:
            one.say({**INIT, "payload": {"Authorization": "Bearer signet_wrong"}})
            return await one.hear()

    assert run(talk()) == 4403


def gone(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def lowered(user: User) -> None:
    User.objects.filter(pk=user.pk).update(role="ml_user")


def revoked(user: User) -> None:
    ApiToken.objects.filter(user=user).update(revoked_at=timezone.now())


def expired(user: User) -> None:
    ApiToken.objects.filter(user=user).update(expires_at=timezone.now())


def narrowed(user: User) -> None:
    ApiToken.objects.filter(user=user).update(programs=["another"])


def logged_out(user: User) -> None:
    Session.objects.all().delete()


def other_password(user: User) -> None:
    user.set_password("another-long-password")
    user.save()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("take_away", "by", "code", "ends"),
    [
        (revoked, "token", "token_unknown", 4403),
        (expired, "token", "token_unknown", 4403),
        (gone, "token", "token_unknown", 4403),
        (lowered, "token", "execution_not_found", None),
        (narrowed, "token", "execution_not_found", None),
        (logged_out, "session", "not_authenticated", 4403),
        (other_password, "session", "not_authenticated", 4403),
        (gone, "session", "not_authenticated", 4403),
        (lowered, "session", "execution_not_found", None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_operation_ends_with_its_right(
    erin: User, bob: User, monkeypatch: pytest.MonkeyPatch, take_away: Any, by: str, code: str, ends: int | None
) -> None:
    """Though nothing happens to what is watched."""
    monkeypatch.setattr(connected, "RENEW_S", 0.05)
    row, token = execution_of(bob), make_token(erin)[1]
    headers = {"cookie": cookie_of(erin), "origin": "http://testserver"}

    async def talk() -> None:
        async with Conversation(headers=headers) as one:
            if by == "token":
                await one.introduce(token)
            else:
                one.say(INIT)
                await one.hear()
            one.subscribe(UPDATES, variables={"id": str(row.pk)})
            assert (await one.hear())["type"] == "next"
            await off_the_loop(lambda: take_away(erin))
            answer = await one.hear()
            assert (answer["type"], answer["payload"][0]["extensions"]["code"]) == ("error", code)
            if ends:
                assert await one.hear() == ends
            else:
                await change(row, revision=9)
                one.say({"type": "ping"})
                assert await one.hear() == {"type": "pong"}
            assert one.nothing_heard()

    run(talk())


@pytest.mark.django_db(transaction=True)
def test_nothing_is_told_by_a_right_that_was_not_looked_up_lately(
    erin: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an outage of the database: the event is there before the rights are."""
    monkeypatch.setattr(connected, "RENEW_S", 60)
    row, token = execution_of(bob), make_token(erin)[1]

    async def talk() -> None:
        async with Conversation() as one:
            await one.introduce(token)
            one.subscribe(UPDATES, variables={"id": str(row.pk)})
            await one.hear()
            monkeypatch.setattr(connected, "STALE_S", 0.0)
            await off_the_loop(lambda: revoked(erin))
            await change(row, revision=9)
            assert (await one.hear())["type"] == "error"
            assert await one.hear() == 4403

    run(talk())


def test_behind_a_message_of_any_size_its_operation_can_end() -> None:
    box = outbox.Outbox()
    large = outbox.Letter("x" * (outbox.MAX_BYTES + 1))
    assert [box.put(one) for one in (large, outbox.Letter("complete"), large)] == [True, True, False]


@pytest.mark.django_db(transaction=True)
def test_a_slow_reader_is_dropped_and_holds_up_nobody(erin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_MESSAGES", 3)
    row, token = execution_of(erin), make_token(erin)[1]

    async def talk() -> None:
        async with Conversation() as slow, Conversation() as quick:
            for one in (slow, quick):
                await one.introduce(token)
                one.subscribe(UPDATES, variables={"id": str(row.pk)})
                await one.hear()
            slow.reads.clear()
            for revision in range(2, 9):
                await change(row, revision=revision)
                watchers_of(Execution).offer(Change(row.pk, "pending", revision))
                told = await quick.hear()
                assert told["payload"]["data"]["executionUpdates"]["revision"] == revision
            slow.reads.set()
            # What was on its way when it stopped to read, then the end instead of all that it missed.
            assert (await slow.hear())["payload"]["data"]["executionUpdates"]["revision"] == 2
            assert await slow.hear() == 1013
            assert slow.nothing_heard()

    run(talk())


@pytest.mark.django_db(transaction=True)
def test_what_a_client_has_ended_is_not_sent_any_more(erin: User) -> None:
    """An id that it uses again would take the old messages for its own."""
    token, row = make_token(erin)[1], execution_of(erin)

    async def talk() -> None:
        async with Conversation() as one:
            await one.introduce(token)
            one.reads.clear()
            one.say({"type": "ping"})
            one.subscribe(UPDATES, variables={"id": str(row.pk)})
            while not any(letter.of for letter in letters(one)):
                await asyncio.sleep(0.01)
            one.say({"type": "complete", "id": "1"})
            one.say({"type": "ping"})
            while len(letters(one)) < 2:
                await asyncio.sleep(0.01)
            one.reads.set()
            assert [await one.hear(), await one.hear()] == [{"type": "pong"}, {"type": "pong"}]
            assert one.nothing_heard()

    def letters(one: Conversation) -> Any:
        (socket,) = connected.connected()._sockets
        return list(socket._outbox._letters)

    run(talk())


def test_texts_are_json() -> None:
    assert json.loads(sockets._text("next", '"\n\\', b"[1]")) == {"type": "next", "id": '"\n\\', "payload": [1]}
