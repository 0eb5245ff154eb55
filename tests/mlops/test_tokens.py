from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from mlops.errors import Forbidden, Invalid
from mlops.models import ApiToken, User
from mlops.services.tokens import authenticate_token, cached_actor, create_token, forget_tokens, revoke_token
from mlops.services.users import deactivate_user, update_user
from tests.factories import make_token

pytestmark = pytest.mark.django_db


def test_a_token_is_shown_once_and_kept_as_a_digest(alice: User) -> None:
    token, raw = create_token(actor=alice, user=alice, name=" laptop ")

    assert raw.startswith(f"signet_{token.prefix}_")
    assert token.name == "laptop"
    assert raw not in repr(vars(token))
    assert raw.rpartition("_")[2] not in repr(list(ApiToken.objects.values()))


def test_a_token_stands_for_its_owner(alice: User) -> None:
    raw = make_token(alice)[1]

    assert authenticate_token(raw) == alice


@pytest.mark.parametrize("raw", ["", "signet_", "signet_00000000_" + "0" * 48, "x", "signet_\x00", "signet_\ud800"])
def test_other_tokens_stand_for_nobody(raw: str) -> None:
    assert authenticate_token(raw) is None


def test_revoked_expired_and_deactivated_owners_tokens_stand_for_nobody(admin: User, alice: User, bob: User) -> None:
    revoked, raw_of_revoked = make_token(alice)
    expired, raw_of_expired = make_token(alice)
    raw_of_bob = make_token(bob)[1]
    assert all(authenticate_token(raw) for raw in (raw_of_revoked, raw_of_expired, raw_of_bob))

    revoke_token(actor=alice, token=revoked)
    ApiToken.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    deactivate_user(actor=admin, user=bob)

    assert [authenticate_token(raw) for raw in (raw_of_revoked, raw_of_expired, raw_of_bob)] == [None] * 3


def test_known_and_unknown_tokens_are_looked_up_once(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    raw, unknown = make_token(alice)[1], "signet_nobody"
    authenticate_token(raw), authenticate_token(unknown)

    with django_assert_num_queries(0):
        assert [authenticate_token(raw), authenticate_token(unknown)] == [alice, None]
        assert async_to_sync(cached_actor)(raw) == alice


def test_callers_do_not_share_the_cached_row(alice: User) -> None:
    raw = make_token(alice)[1]
    first = authenticate_token(raw)
    assert first is not None
    first.role = "admin"

    second = authenticate_token(raw)

    assert second is not None
    assert second.role == "ml_user"


def test_a_change_of_role_is_known_at_once_in_the_process_that_made_it(admin: User, alice: User) -> None:
    raw = make_token(alice)[1]
    authenticate_token(raw)

    update_user(actor=admin, user=alice, fields={"role": "ml_engineer"})

    user = authenticate_token(raw)
    assert user is not None
    assert user.role == "ml_engineer"


def test_use_is_noted_at_most_once_a_minute(alice: User) -> None:
    token, raw = make_token(alice)
    authenticate_token(raw)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None

    forget_tokens()
    authenticate_token(raw)
    token.refresh_from_db()
    assert token.last_used_at == first

    ApiToken.objects.filter(pk=token.pk).update(last_used_at=first - timedelta(minutes=2))
    forget_tokens()
    authenticate_token(raw)
    token.refresh_from_db()
    assert token.last_used_at > first - timedelta(minutes=1)


def test_nobody_makes_a_token_for_another(admin: User, alice: User, charlie: User) -> None:
    for actor in (charlie, admin):
        with pytest.raises(Forbidden):
            create_token(actor=actor, user=alice, name="theirs")

    assert not ApiToken.objects.exists()


def test_owner_and_admin_revoke_and_strangers_do_not(admin: User, alice: User, charlie: User) -> None:
    token, raw = make_token(alice)
    with pytest.raises(Forbidden):
        revoke_token(actor=charlie, token=token)
    assert authenticate_token(raw) == alice

    first = revoke_token(actor=admin, token=token).revoked_at

    assert revoke_token(actor=alice, token=token).revoked_at == first


@pytest.mark.parametrize(
    ("name", "age", "code"),
    [
        ("  ", None, "token_name_missing"),
        ("n" * 101, None, "token_name_too_long"),
        ("a\x00b", None, "unstorable_text"),
        ("ok", timedelta(seconds=-1), "token_already_expired"),
    ],
)
def test_bad_tokens_are_refused(alice: User, name: str, age: timedelta | None, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create_token(actor=alice, user=alice, name=name, expires_at=timezone.now() + age if age else None)

    assert refusal.value.code == code
    assert not ApiToken.objects.exists()
