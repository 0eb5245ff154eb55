"""Sessions work as Django's do, and the table does not give them away."""

from __future__ import annotations

import asyncio

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client

from mlops.models import User
from mlops.sessions import SessionStore
from mlops.tasks import forget_sessions
from tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_session_is_found_by_its_cookie_and_by_nothing_in_the_table(client: Client, admin: User) -> None:
    client.force_login(admin)
    key = client.cookies["sessionid"].value
    row = Session.objects.get()
    assert row.session_key != key
    assert client.get("/api/v1/users/me/").json()["username"] == "admin"
    client.cookies["sessionid"] = row.session_key
    assert client.get("/api/v1/users/me/").status_code == 401


def test_logging_out_ends_it(client: Client) -> None:
    client.force_login(make_user("admin"))
    cookie = client.cookies["sessionid"].value
    client.post("/admin/logout/")
    assert Session.objects.count() == 0
    client.cookies["sessionid"] = cookie
    assert client.get("/api/v1/users/me/").status_code == 401


def test_logging_in_changes_the_key_and_keeps_the_row_of_nobody_else(client: Client) -> None:
    before = SessionStore()
    before["mark"] = 1
    before.save()
    client.cookies["sessionid"] = str(before.session_key)
    client.force_login(make_user("admin"))
    assert client.cookies["sessionid"].value != before.session_key
    assert not SessionStore().exists(str(before.session_key))
    assert SessionStore().exists(client.cookies["sessionid"].value)
    assert Session.objects.count() == 1


def test_asynchronous_callers_find_the_same_sessions() -> None:
    async def course() -> None:
        store = SessionStore()
        await store.aset("mark", 1)
        await store.asave()
        key = str(store.session_key)
        assert await SessionStore(key).aget("mark") == 1
        assert await SessionStore().aexists(key)
        await SessionStore().adelete(key)
        assert await SessionStore(key).aget("mark") is None
        assert not await SessionStore().aexists(key)

    asyncio.run(course())
    assert Session.objects.count() == 0


def test_sessions_that_are_over_are_deleted_and_no_others(client: Client, admin: User) -> None:
    client.force_login(admin)
    over = SessionStore()
    over["mark"] = 1
    over.set_expiry(-1)
    over.save()
    assert Session.objects.count() == 2

    forget_sessions()

    assert Session.objects.count() == 1
    assert client.get("/api/v1/users/me/").json()["username"] == "admin"
    assert "mlops.forget_expired_sessions" in {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
