"""Log-ins: locked after failures, answered alike for everybody, and what they leave behind."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config import settings
from mlops.api.clients import client_address
from mlops.errors import Forbidden
from mlops.models import User
from mlops.passwords import Argon2Hasher
from mlops.services.lockouts import unlock_login
from mlops.services.users import deactivate_user, set_password
from mlops.types import Role
from tests.factories import make_user

LOGIN = "/admin/login/"
PASSWORD = "a-long-password"
WRONG = "Please enter the correct username and password"


@pytest.fixture
def boss(db: None) -> User:
    return make_user(Role.ADMIN.value, username="boss", password=PASSWORD)


def log_in(username: str, password: str, client: Client | None = None, **headers: Any) -> Any:
    return (client or Client()).post(LOGIN, {"username": username, "password": password, "next": "/admin/"}, **headers)


def fail(username: str, times: int, **headers: Any) -> list[int]:
    return [log_in(username, f"wrong-{number}", **headers).status_code for number in range(times)]


# Locks


def test_the_fifth_failure_locks_the_name_for_the_address_whatever_the_password(boss: User) -> None:
    assert fail("boss", 5) == [200, 200, 200, 200, 429]

    refused = log_in("boss", PASSWORD)

    assert refused.status_code == 429
    assert 890 <= int(refused.headers["Retry-After"]) <= 900
    assert "Try again in 15 minutes" in refused.content.decode()
    assert not Session.objects.exists()


def test_another_address_and_another_name_are_not_locked(boss: User) -> None:
    make_user(Role.ML_ENGINEER.value, username="other", password=PASSWORD)
    fail("boss", 5)
    assert log_in("boss", PASSWORD, REMOTE_ADDR="192.0.2.7").status_code == 302
    assert log_in("other", PASSWORD).status_code == 302


def test_an_address_that_tries_many_names_is_slowed_down(boss: User) -> None:
    tried = [log_in(f"name-{number}", PASSWORD, REMOTE_ADDR="192.0.2.8").status_code for number in range(30)]
    assert tried == [200] * 30

    refused = log_in("boss", PASSWORD, REMOTE_ADDR="192.0.2.8")

    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "Too many log-ins from your address." in refused.content.decode()
    assert not Session.objects.exists()
    assert not AccessAttempt.objects.filter(username="boss").exists()
    assert log_in("boss", PASSWORD, REMOTE_ADDR="192.0.2.9").status_code == 302


def test_another_browser_is_locked_too(boss: User) -> None:
    fail("boss", 3, HTTP_USER_AGENT="one")
    assert fail("boss", 2, HTTP_USER_AGENT="two") == [200, 429]


def test_a_right_password_forgets_the_failures_before_it(boss: User) -> None:
    fail("boss", 4)
    assert log_in("boss", PASSWORD).status_code == 302
    assert not AccessAttempt.objects.exists()
    assert fail("boss", 4) == [200] * 4


def test_the_lock_opens_after_its_time_and_trying_on_does_not_prolong_it(boss: User) -> None:
    fail("boss", 5)
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=14))
    assert log_in("boss", PASSWORD).status_code == 429
    assert AccessAttempt.objects.get().failures_since_start == 5
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=15, seconds=1))
    assert log_in("boss", PASSWORD).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_failures_at_the_same_time_are_all_counted() -> None:
    def attempt(number: int) -> int:
        try:
            return int(log_in("boss", f"wrong-{number}").status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(attempt, range(4)))

    assert statuses == [200] * 4
    assert AccessAttempt.objects.get().failures_since_start == 4
    assert log_in("boss", "wrong").status_code == 429


def test_no_password_is_kept_with_the_failures(boss: User) -> None:
    log_in("boss", "nearly-my-password")
    kept = AccessAttempt.objects.get()
    assert "nearly-my-password" not in repr(AccessAttempt.objects.values())
    assert (kept.username, kept.ip_address, kept.failures_since_start) == ("boss", "127.0.0.1", 1)


@pytest.mark.parametrize("name", ["x" * 151, "x" * 100_000, "a\x00b", "", "'; drop table--", "\ud800", "名前"])
def test_names_that_nobody_has_are_answered_as_a_wrong_password(db: None, name: str) -> None:
    answer = Client().post(
        LOGIN,
        b"username=" + _quoted(name) + b"&password=wrong",
        content_type="application/x-www-form-urlencoded",
        HTTP_USER_AGENT="\xff" * 600,
        HTTP_ACCEPT="a" * 2000,
    )
    assert answer.status_code == 200
    assert not Session.objects.exists()


def _quoted(text: str) -> bytes:
    return b"".join(b"%%%02X" % byte for byte in text.encode("utf-8", "surrogatepass"))


# Who may unlock


def test_an_admin_sees_and_opens_a_lock(boss: User) -> None:
    fail("erin", 5)
    attempt = AccessAttempt.objects.get()
    client = Client()
    client.force_login(boss)

    listed = client.get("/admin/axes/accessattempt/?locked_out=yes")
    assert "erin" in listed.content.decode()
    page = f"/admin/axes/accessattempt/{attempt.pk}"
    assert client.get(f"{page}/change/").status_code == 200
    done = client.post(f"{page}/unlock/", {"_form_submitted": "True"})

    assert done.status_code in (204, 302)
    assert not AccessAttempt.objects.exists()
    assert fail("erin", 1) == [200]


def test_only_admins_see_or_open_locks(boss: User, erin: User) -> None:
    fail("boss", 5)
    attempt = AccessAttempt.objects.get()
    client = Client()
    client.force_login(erin)
    assert client.get("/admin/axes/accessattempt/").status_code == 403
    assert client.post(f"/admin/axes/accessattempt/{attempt.pk}/unlock/", {"_form_submitted": "True"}).status_code in (
        204,
        302,
    )
    with pytest.raises(Forbidden) as refused:
        unlock_login(actor=erin, attempt=attempt)
    assert refused.value.code == "lockout_unlock_forbidden"
    assert log_in("boss", PASSWORD).status_code == 429


# Nobody learns who there is


def answers(username: str, times: int = 6) -> list[tuple[int, str]]:
    seen = []
    for _attempt in range(times):
        answer = log_in(username, "wrong")
        text = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", answer.content.decode())
        seen.append((answer.status_code, text.replace(username, "NAME")))
    return seen


def test_unknown_closed_and_unentitled_accounts_get_the_answers_of_a_wrong_password(boss: User, alice: User) -> None:
    deactivate_user(actor=boss, user=make_user(Role.ADMIN.value, username="closed", password="wrong"))
    make_user(username="modest", password="wrong")
    expected = answers("boss")
    assert [status for status, _text in expected] == [200, 200, 200, 200, 429, 429]
    assert WRONG in expected[0][1]
    assert answers("nobody") == expected
    assert answers("closed") == expected
    assert answers("alice") == expected  # has no password
    assert answers("modest") == expected  # the password is right, the role opens no admin page


@pytest.mark.parametrize("name", ["boss", "nobody", "alice", "closed"])
def test_one_hash_is_computed_whoever_is_named(
    boss: User, alice: User, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The time of an answer is the time of its hashes; Alice has no password, nobody no account."""
    computed: list[str] = []

    class Counted(Argon2Hasher):
        def encode(self, password: str, salt: str) -> str:
            computed.append("encode")
            return super().encode(password, salt)

        def verify(self, password: str, encoded: str) -> bool:
            computed.append("verify")
            return super().verify(password, encoded)

    monkeypatch.setattr("mlops.passwords.Argon2Hasher", Counted)
    with override_settings(PASSWORD_HASHERS=settings.PASSWORD_HASHERS):
        closed = make_user(Role.ADMIN.value, username="closed")
        for user in (boss, closed):
            set_password(actor=boss, user=user, password="another-long-password")
        deactivate_user(actor=boss, user=closed)
        computed.clear()
        assert log_in(name, "wrong").status_code == 200
    assert len(computed) == 1


# Passwords


@override_settings(PASSWORD_HASHERS=settings.PASSWORD_HASHERS)
def test_passwords_are_kept_by_argon2_and_old_hashes_are_replaced_at_the_next_log_in(boss: User) -> None:
    old = PBKDF2PasswordHasher().encode(PASSWORD, "a-salt-of-long-ago", 1000)
    User.objects.filter(pk=boss.pk).update(password=old)
    before = boss.history.count()

    assert log_in("boss", "wrong").status_code == 200
    boss.refresh_from_db()
    assert boss.password == old
    assert log_in("boss", PASSWORD).status_code == 302

    boss.refresh_from_db()
    assert boss.password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert boss.history.count() == before  # what the hash is made by is no change of the account
    assert log_in("boss", PASSWORD).status_code == 302


# Sessions


def test_a_session_from_before_the_log_in_is_worth_nothing_after_it(boss: User) -> None:
    """Fixation: whoever planted the session key does not share the session that the log-in makes."""
    planted = Client()
    session = planted.session
    session["planted"] = True
    session.save()
    key = str(session.session_key)
    victim = Client()
    victim.cookies["sessionid"] = key

    assert log_in("boss", PASSWORD, victim).status_code == 302

    assert victim.cookies["sessionid"].value != key
    assert not Session.objects.filter(session_key=key).exists()
    assert planted.get("/admin/").status_code == 302
    assert victim.get("/admin/").status_code == 200


def test_a_session_key_that_we_never_made_is_not_adopted(boss: User) -> None:
    client = Client()
    client.cookies["sessionid"] = "chosenbysomebodyelse0000000000000"
    log_in("boss", PASSWORD, client)
    assert client.cookies["sessionid"].value != "chosenbysomebodyelse0000000000000"


def test_somebody_elses_session_is_not_taken_over_by_a_log_in(boss: User, erin: User) -> None:
    client = Client()
    client.force_login(erin)
    client.session["seen"] = "by erin"
    before = client.session.session_key
    log_in("boss", PASSWORD, client)
    assert client.session.session_key != before
    assert "seen" not in client.session
    assert not Session.objects.filter(session_key=before).exists()


def test_the_csrf_token_changes_with_the_log_in(boss: User) -> None:
    client = Client()
    client.get(LOGIN)
    before = client.cookies["csrftoken"].value
    log_in("boss", PASSWORD, client)
    assert client.cookies["csrftoken"].value != before


def test_logging_out_ends_the_session_for_whoever_kept_its_key(boss: User) -> None:
    client, copy = Client(), Client()
    log_in("boss", PASSWORD, client)
    copy.cookies["sessionid"] = client.cookies["sessionid"].value
    assert copy.get("/admin/").status_code == 200
    assert client.get("/admin/logout/").status_code == 405
    assert client.post("/admin/logout/").status_code == 200
    assert copy.get("/admin/").status_code == 302
    assert not Session.objects.exists()


@pytest.mark.parametrize("change", ["password", "deactivated"])
def test_a_new_password_and_a_closed_account_end_all_sessions(boss: User, change: str) -> None:
    other = make_user(Role.ADMIN.value, username="other", password=PASSWORD)
    client = Client()
    log_in("other", PASSWORD, client)
    assert client.get("/api/v1/users/").status_code == 200
    if change == "password":
        set_password(actor=boss, user=other, password="another-long-password")
    else:
        deactivate_user(actor=boss, user=other)
    assert client.get("/admin/").status_code == 302
    assert client.get("/api/v1/users/").status_code == 401


def test_the_cookies_of_a_session(boss: User) -> None:
    client = Client()
    log_in("boss", PASSWORD, client)
    for name in ("sessionid", "csrftoken"):
        cookie = client.cookies[name]
        assert cookie["httponly"] is True
        assert cookie["samesite"] == "Lax"
        assert cookie["domain"] == ""
        assert cookie["path"] == "/"
    assert client.cookies["sessionid"]["max-age"] == 12 * 3600


# Where a log-in comes from


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        ([], "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ([], "127.0.0.1", "203.0.113.9", "127.0.0.1"),
        (["10.0.0.0/8"], "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (["10.0.0.0/8"], "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (["10.0.0.0/8"], "10.0.0.1", "", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.9, '; drop table", "10.0.0.1"),
        (["::1/128"], "::1", "2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ([], "fe80::1%eth0", "", "fe80::"),
        ([], "", "203.0.113.9", None),
        ([], "unix:", "", None),
    ],
)
def test_the_address_of_a_client(proxies: list[str], peer: str, forwarded: str, address: str | None) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    with override_settings(SIGNET_TRUSTED_PROXIES=[ip_network(proxy) for proxy in proxies]):
        assert client_address(request) == address


def test_a_forged_address_does_not_escape_the_lock(boss: User) -> None:
    statuses = [
        log_in("boss", "wrong", HTTP_X_FORWARDED_FOR=f"203.0.113.{number}", HTTP_X_REAL_IP="1.1.1.1").status_code
        for number in range(6)
    ]
    assert statuses == [200, 200, 200, 200, 429, 429]


def test_requests_that_log_nobody_in_do_not_look_for_locks(boss: User) -> None:
    client = Client()
    client.force_login(boss)
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/api/v1/users/").status_code == 200
    assert not [query for query in queries.captured_queries if "axes" in query["sql"]]


# One's own password

CHANGE = "/admin/password_change/"
NEW_PASSWORD = "a-longer-password-7"


def changed_in(client: Client, **different: str) -> Any:
    form = {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD, **different}
    return client.post(CHANGE, form)


def test_whoever_changes_their_password_is_on_record_and_their_other_sessions_end(boss: User) -> None:
    here, elsewhere = Client(), Client()
    for client in (here, elsewhere):
        log_in("boss", PASSWORD, client)

    answer = changed_in(here)

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/password_change/done/")
    state = boss.history.latest()
    assert (state.history_user, state.history_change_reason, state.history_source) == (
        boss,
        "change_own_password",
        "admin",
    )
    assert [client.get("/admin/").status_code for client in (here, elsewhere)] == [200, 302]
    assert log_in("boss", NEW_PASSWORD).status_code == 302


@pytest.mark.parametrize(
    "wrong", [{"old_password": "guessed"}, {"new_password2": "other"}, {"new_password1": "a", "new_password2": "a"}]
)
def test_a_password_that_is_not_changed_leaves_nothing(boss: User, wrong: dict[str, str]) -> None:
    client, states = Client(), boss.history.count()
    client.force_login(boss)

    assert "error" in changed_in(client, **wrong).content.decode()

    assert boss.history.count() == states
    assert User.objects.get(pk=boss.pk).check_password(PASSWORD)
