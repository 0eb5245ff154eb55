import pytest
from django.test import Client

from mlops.errors import Conflict, DomainError, Forbidden, Invalid
from mlops.models import ApiToken, User
from mlops.services.users import anonymise_user, create_user, deactivate_user, set_password, update_user
from tests.factories import make_token

pytestmark = pytest.mark.django_db


def test_an_account_is_made_with_its_history(admin: User) -> None:
    user = create_user(actor=admin, username="dora", role="ml_engineer", time_zone="Europe/Berlin")

    user.refresh_from_db()
    assert (user.role, user.time_zone, user.is_staff, user.has_usable_password()) == (
        "ml_engineer",
        "Europe/Berlin",
        True,
        False,
    )
    record = user.history.get()
    assert (record.history_user, record.history_change_reason) == (admin, "create")


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"username": "alice"}, "username_taken", "username"),
        ({"username": "with space"}, "invalid", "username"),
        ({"username": ""}, "blank", "username"),
        ({"username": "a\x00"}, "unstorable_text", "username"),
        ({"role": "king"}, "invalid_choice", "role"),
        ({"time_zone": "Mars/Olympus"}, "time_zone_unknown", "time_zone"),
        ({"email": "nobody"}, "invalid", "email"),
        ({"is_active": False}, "unknown_field", "is_active"),
        ({"ml_credits": 10}, "unknown_field", "ml_credits"),
        ({"password": "12345"}, "password_too_short", "password"),
    ],
)
def test_bad_accounts_are_refused(admin: User, alice: User, fields: dict[str, str], code: str, field: str) -> None:
    with pytest.raises(DomainError) as refusal:
        create_user(actor=admin, **{"username": "dora", **fields})

    assert refusal.value.problems[0].code == code
    assert refusal.value.problems[0].field == field
    assert User.objects.count() == 2


def test_only_admins_write_accounts(alice: User, erin: User) -> None:
    for actor in (alice, erin):
        with pytest.raises(Forbidden):
            create_user(actor=actor, username="dora")
        with pytest.raises(Forbidden):
            update_user(actor=actor, user=actor, fields={"role": "admin"})
        with pytest.raises(Forbidden):
            deactivate_user(actor=actor, user=alice)
        with pytest.raises(Forbidden):
            anonymise_user(actor=actor, user=alice)
        with pytest.raises(Forbidden):
            set_password(actor=actor, user=alice, password="a-long-password")

    assert set(User.objects.values_list("username", "role")) == {("alice", "ml_user"), ("erin", "ml_engineer")}


def test_a_password_is_set_and_never_in_the_history(admin: User, alice: User) -> None:
    set_password(actor=admin, user=alice, password="canary-password-1")

    alice.refresh_from_db()
    assert alice.check_password("canary-password-1")
    assert alice.password not in repr(list(alice.history.values()))


def test_the_last_admin_stays(admin: User, alice: User) -> None:
    with pytest.raises(Conflict) as refusal:
        update_user(actor=admin, user=admin, fields={"role": "ml_user"})
    assert refusal.value.code == "last_admin"
    with pytest.raises(Conflict):
        deactivate_user(actor=admin, user=admin)

    second = update_user(actor=admin, user=alice, fields={"role": "admin"})
    deactivate_user(actor=second, user=admin)

    admin.refresh_from_db()
    assert not admin.is_active


def test_deactivating_twice_leaves_one_history_row(admin: User, alice: User) -> None:
    for _ in range(2):
        deactivate_user(actor=admin, user=alice)

    assert alice.history.filter(history_change_reason="deactivate").count() == 1


def test_anonymising_forgets_the_person_and_keeps_the_ledger(admin: User, alice: User) -> None:
    make_token(alice)
    update_user(actor=admin, user=alice, fields={"first_name": "Alice-canary", "email": "canary@example.org"})

    anonymise_user(actor=admin, user=alice)

    everything = repr(list(User.objects.filter(pk=alice.pk).values())) + repr(list(alice.history.values()))
    assert "canary" not in everything
    assert "alice" not in everything
    assert not ApiToken.objects.filter(user=alice).exists()
    assert alice.credit_entries.count() == 1


def test_an_unknown_field_of_an_update_changes_nothing(admin: User, alice: User) -> None:
    with pytest.raises(Invalid):
        update_user(actor=admin, user=alice, fields={"role": "admin", "password": "x"})

    alice.refresh_from_db()
    assert alice.role == "ml_user"


def test_a_login_is_noted_without_a_history_row(client: Client, admin: User) -> None:
    before = admin.history.count()

    client.force_login(admin)

    admin.refresh_from_db()
    assert admin.last_login is not None
    assert admin.history.count() == before
