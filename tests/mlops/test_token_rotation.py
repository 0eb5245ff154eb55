"""A token is replaced without a moment in which none works."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from mlops.errors import Conflict, Forbidden, Invalid
from mlops.models import ApiToken, User
from mlops.services.tokens import authenticate_token, create_token, forget_tokens, revoke_token, rotate_token
from mlops.types import Scope
from tests.conftest import api_of
from tests.factories import make_program, make_token

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def test_the_new_token_is_like_the_old_one_and_both_work_for_a_while(erin: User) -> None:
    make_program(name="triage")
    old, raw_of_old = make_token(erin, name="ci", scopes=["read"], programs=["triage"], rate_limit=9)

    new, raw = rotate_token(actor=erin, token=old)

    old.refresh_from_db()
    assert (new.name, new.scopes, new.programs, new.rate_limit) == ("ci", ["read"], ["triage"], 9)
    assert (old.replaced_by, new.replaced_by, new.expires_at) == (new, None, None)
    assert old.expires_at is not None
    assert timezone.now() + timedelta(hours=23, minutes=59) < old.expires_at <= timezone.now() + DAY
    assert raw != raw_of_old
    assert [authenticate_token(one) for one in (raw, raw_of_old)] == [erin, erin]


def test_after_the_overlap_only_the_new_token_works(erin: User) -> None:
    old, raw_of_old = make_token(erin)
    assert authenticate_token(raw_of_old) == erin

    raw = rotate_token(actor=erin, token=old, overlap=timedelta())[1]

    assert [authenticate_token(one) for one in (raw, raw_of_old)] == [erin, None]


def test_the_overlap_never_lengthens_a_life_and_the_successor_lives_as_long(erin: User) -> None:
    old = make_token(erin, expires_at=timezone.now() + timedelta(hours=1))[0]
    ApiToken.objects.filter(pk=old.pk).update(created_at=timezone.now() - 9 * DAY)
    old.refresh_from_db()
    ends = old.expires_at

    new = rotate_token(actor=erin, token=old, overlap=30 * DAY)[0]

    old.refresh_from_db()
    assert old.expires_at == ends
    assert new.expires_at is not None
    assert abs(new.expires_at - timezone.now() - 9 * DAY - timedelta(hours=1)) < timedelta(minutes=1)


def test_what_is_dead_or_replaced_is_not_rotated(erin: User) -> None:
    revoked, expired, replaced = (make_token(erin)[0] for _ in range(3))
    revoke_token(actor=erin, token=revoked)
    ApiToken.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    rotate_token(actor=erin, token=replaced)
    before = ApiToken.objects.count()

    for token, code in ((revoked, "token_revoked"), (expired, "token_expired"), (replaced, "token_already_rotated")):
        with pytest.raises(Conflict) as refusal:
            rotate_token(actor=erin, token=token)
        assert refusal.value.code == code

    assert ApiToken.objects.count() == before


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), 30 * DAY + timedelta(seconds=1), timedelta.max])
def test_an_overlap_has_bounds(erin: User, overlap: timedelta) -> None:
    token = make_token(erin)[0]

    with pytest.raises(Invalid) as refusal:
        rotate_token(actor=erin, token=token, overlap=overlap)

    assert refusal.value.code == "token_overlap_invalid"
    token.refresh_from_db()
    assert (token.replaced_by, token.expires_at) == (None, None)


def test_nobody_rotates_the_token_of_somebody_else(admin: User, erin: User) -> None:
    """Whoever rotates is shown the new one, and could then be its owner: admins revoke."""
    token = make_token(erin)[0]

    with pytest.raises(Forbidden) as refusal:
        rotate_token(actor=admin, token=token)

    assert refusal.value.code == "token_rotate_forbidden"
    assert ApiToken.objects.count() == 1


def test_a_token_rotates_over_rest(erin: User) -> None:
    old = make_token(erin, name="ci")[0]
    client = api_of(erin)

    response = client.post(f"/api/v1/tokens/{old.pk}/rotate/", {"overlap_s": 60})

    made = response.json()
    assert response.status_code == 201
    assert response["Location"].endswith(f"/api/v1/tokens/{made['id']}/")
    assert authenticate_token(made["token"]) == erin
    shown = client.get(f"/api/v1/tokens/{old.pk}/").json()
    assert shown["replaced_by"] == made["id"]
    assert "token" not in shown
    assert client.post(f"/api/v1/tokens/{old.pk}/rotate/", {}).json()["code"] == "token_already_rotated"


@pytest.mark.parametrize("overlap", [-1, 30 * 86_400 + 1, 1.5, "soon", None, 10**30])
def test_a_wrong_overlap_over_rest_names_its_field(erin: User, overlap: object) -> None:
    token = make_token(erin)[0]

    response = api_of(erin).post(f"/api/v1/tokens/{token.pk}/rotate/", {"overlap_s": overlap})

    assert response.status_code == 400
    assert [problem["field"] for problem in response.json()["errors"]] == ["overlap_s"]


def test_a_token_without_the_scope_admin_rotates_none_not_even_itself(erin: User) -> None:
    token, raw = make_token(erin, scopes=[Scope.READ, Scope.EXECUTE, Scope.ENGINEER])
    client = APIClient(headers={"Authorization": f"Bearer {raw}"})

    response = client.post(f"/api/v1/tokens/{token.pk}/rotate/", {})

    assert (response.status_code, response.json()["code"], response.json()["scope"]) == (
        403,
        "token_scope_missing",
        "admin",
    )


def test_a_token_rotates_none_that_may_do_more(erin: User) -> None:
    wide = make_token(erin)[0]
    raw = make_token(erin, scopes=["read", "admin"])[1]

    response = APIClient(headers={"Authorization": f"Bearer {raw}"}).post(f"/api/v1/tokens/{wide.pk}/rotate/", {})

    assert (response.status_code, response.json()["code"]) == (403, "token_exceeds_own")
    wide.refresh_from_db()
    assert wide.replaced_by is None


def test_the_command_limits_a_token(erin: User, capsys: pytest.CaptureFixture[str]) -> None:
    make_program(name="triage")
    limits = ("--scope", "read", "--scope", "execute", "--program", "triage", "--rate-limit", "60", "--days", "2")

    call_command("create_token", "erin", *limits)

    actor = authenticate_token(capsys.readouterr().out.split()[-1])
    assert actor is not None
    assert actor.grant is not None
    assert (actor.grant.scopes, actor.grant.programs, actor.grant.rate_limit) == (
        frozenset({Scope.READ, Scope.EXECUTE}),
        frozenset({"triage"}),
        60,
    )
    ends = ApiToken.objects.get().expires_at
    assert ends is not None
    assert timedelta(days=1) < ends - timezone.now() <= timedelta(days=2)


@pytest.mark.parametrize(
    "wrong",
    [("--scope", "write"), ("--program", "none"), ("--rate-limit", "0"), ("--days", "-1"), ("--days", "9" * 12)],
)
def test_the_command_leaves_nothing_behind_when_a_limit_is_wrong(wrong: tuple[str, str]) -> None:
    with pytest.raises(CommandError):
        call_command("create_token", "new", *wrong)

    assert not User.objects.filter(username="new").exists()


def test_the_admin_makes_and_rotates_limited_tokens(admin: User) -> None:
    make_program(name="triage")
    forget_tokens()
    browser = APIClient()
    browser.force_login(admin)
    form = {"name": "page", "scopes": ["read", "execute"], "programs": "triage", "rate_limit": "5"}

    made = browser.post("/admin/mlops/apitoken/add/", form, format="multipart", follow=True)
    token = ApiToken.objects.get(name="page")
    dialog = browser.post(
        f"/admin/mlops/apitoken/{token.pk}/rotate/",
        {"overlap_hours": "2", "_form_submitted": "true"},
        format="multipart",
        follow=True,
    )

    assert (token.scopes, token.programs, token.rate_limit) == (["read", "execute"], ["triage"], 5)
    assert f"signet_{token.prefix}_" in made.content.decode()
    token.refresh_from_db()
    assert token.replaced_by is not None
    assert f"signet_{token.replaced_by.prefix}_" in dialog.content.decode()
    listed = browser.get("/admin/mlops/apitoken/").content.decode()
    assert "read, execute" in listed
    assert "triage" in listed


def test_the_admin_shows_what_is_wrong_with_a_limit(admin: User) -> None:
    browser = APIClient()
    browser.force_login(admin)

    response = browser.post(
        "/admin/mlops/apitoken/add/", {"name": "page", "scopes": ["read"], "programs": "nobody"}, format="multipart"
    )

    assert "There is no such program." in response.content.decode()
    assert not ApiToken.objects.exists()


def test_what_a_token_makes_or_rotates_never_outlives_it(erin: User) -> None:
    ends = timezone.now() + timedelta(hours=1)
    maker, raw = make_token(erin, expires_at=ends)
    client = APIClient(headers={"Authorization": f"Bearer {raw}"})

    like = client.post("/api/v1/tokens/", {"name": "like"}).json()
    less = client.post("/api/v1/tokens/", {"name": "less", "expires_at": (ends - DAY / 48).isoformat()}).json()
    ApiToken.objects.filter(pk=maker.pk).update(created_at=timezone.now() - 90 * DAY)
    next_of_it = client.post(f"/api/v1/tokens/{maker.pk}/rotate/", {}).json()

    kept = {row.pk: row.expires_at for row in ApiToken.objects.all()}
    assert [kept[UUID(made["id"])] for made in (like, next_of_it)] == [ends, ends]
    assert kept[UUID(less["id"])] == ends - DAY / 48


@pytest.mark.parametrize("ends", [None, timedelta(hours=2)])
def test_a_token_that_expires_makes_none_that_lives_longer(erin: User, ends: timedelta | None) -> None:
    raw = make_token(erin, expires_at=timezone.now() + timedelta(hours=1))[1]
    client = APIClient(headers={"Authorization": f"Bearer {raw}"})
    never = make_token(erin, name="never")[0]
    wanted = ends and (timezone.now() + ends).isoformat()

    answers = [
        client.post("/api/v1/tokens/", {"name": "longer", "expires_at": wanted}),
        client.post(f"/api/v1/tokens/{never.pk}/rotate/", {}),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "token_exceeds_own")] * 2
    assert [answer.json()["errors"][0]["field"] for answer in answers] == ["expires_at"] * 2
    assert not ApiToken.objects.filter(name="longer").exists()
    never.refresh_from_db()
    assert never.replaced_by is None


def test_a_revoked_token_takes_with_it_what_it_made(erin: User) -> None:
    first, raw = make_token(erin)
    made = APIClient(headers={"Authorization": f"Bearer {raw}"}).post("/api/v1/tokens/", {"name": "made"}).json()
    grandchild = APIClient(headers={"Authorization": f"Bearer {made['token']}"}).post(
        "/api/v1/tokens/", {"name": "of what it made"}
    )
    other, raw_of_other = make_token(erin)

    revoke_token(actor=erin, token=first)

    assert [authenticate_token(one) for one in (raw, made["token"], grandchild.json()["token"])] == [None] * 3
    assert authenticate_token(raw_of_other) == erin
    other.refresh_from_db()
    assert other.revoked_at is None


def test_what_replaces_a_token_takes_over_what_that_has_made(erin: User) -> None:
    old, raw = make_token(erin)
    client = APIClient(headers={"Authorization": f"Bearer {raw}"})
    made = client.post("/api/v1/tokens/", {"name": "made"}).json()["token"]
    new = client.post(f"/api/v1/tokens/{old.pk}/rotate/", {}).json()

    revoke_token(actor=erin, token=old)
    assert [authenticate_token(one) for one in (raw, made, new["token"])] == [None, erin, erin]

    revoke_token(actor=erin, token=ApiToken.objects.get(pk=new["id"]))
    assert [authenticate_token(one) for one in (made, new["token"])] == [None, None]


def test_a_token_that_was_revoked_a_moment_ago_makes_none(erin: User) -> None:
    """Another process believes for a few seconds what it has looked up."""
    token, raw = make_token(erin)
    believed = authenticate_token(raw)
    assert believed is not None
    revoke_token(actor=erin, token=token)

    with pytest.raises(Conflict) as refusal:
        create_token(actor=believed, user=believed, name="late")

    assert refusal.value.code == "token_revoked"
    assert not ApiToken.objects.filter(name="late").exists()
