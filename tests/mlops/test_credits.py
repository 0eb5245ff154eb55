import threading
from io import StringIO
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from mlops.errors import Conflict, Forbidden, InsufficientCredits, Invalid
from mlops.models import CreditEntry, User
from mlops.selectors import proven_balance, unproven_balances
from mlops.services.balances import repair_balance
from mlops.services.credits import Subject, grant_credits, refund_credits, release, reserve, settle
from mlops.services.history import operator
from tests.factories import make_user

pytestmark = pytest.mark.django_db
RUN = Subject("execution", UUID(int=7))
CREDIT = 10**6


def balance(user: User) -> int:
    user.refresh_from_db()
    assert user.ml_credits == proven_balance(user)
    return user.ml_credits


def test_grant_moves_the_balance_and_names_the_giver(admin: User, alice: User) -> None:
    line = grant_credits(actor=admin, user=alice, amount=5 * CREDIT, key="k", note="welcome")

    assert (line.kind, line.amount, line.granted_by, line.note) == ("grant", 5 * CREDIT, admin, "welcome")
    assert balance(alice) == 105 * CREDIT


def test_reserve_and_settle_charge_what_was_used(alice: User) -> None:
    reservation = reserve(user=alice, amount=30 * CREDIT, key="r", subject=RUN)
    assert balance(alice) == 70 * CREDIT

    line = settle(reservation=reservation, used=12 * CREDIT)

    assert (line.kind, line.amount, line.used, line.subject_id) == ("settle", 18 * CREDIT, 12 * CREDIT, RUN.id)
    assert balance(alice) == 88 * CREDIT


def test_settle_may_charge_more_than_was_reserved(alice: User) -> None:
    settle(reservation=reserve(user=alice, amount=CREDIT, key="r", subject=RUN), used=3 * CREDIT)

    assert balance(alice) == 97 * CREDIT


def test_release_gives_all_of_it_back(alice: User) -> None:
    release(reservation=reserve(user=alice, amount=30 * CREDIT, key="r", subject=RUN))

    assert balance(alice) == 100 * CREDIT


def test_refund_gives_back(admin: User, alice: User) -> None:
    line = refund_credits(actor=admin, user=alice, amount=CREDIT, key="f", subject=RUN)

    assert (line.kind, line.subject_kind, line.granted_by) == ("refund", "execution", admin)
    assert balance(alice) == 101 * CREDIT


def test_every_line_happens_once(admin: User, alice: User) -> None:
    grants = [grant_credits(actor=admin, user=alice, amount=CREDIT, key="g").pk for _ in range(2)]
    reservations = [reserve(user=alice, amount=CREDIT, key="r", subject=RUN) for _ in range(2)]
    settled = [settle(reservation=reservations[0], used=0).pk for _ in range(2)]

    assert grants[0] == grants[1]
    assert reservations[0].pk == reservations[1].pk
    assert settled[0] == settled[1]
    assert balance(alice) == 101 * CREDIT


def test_a_key_with_other_content_is_a_conflict(admin: User, alice: User, bob: User) -> None:
    grant_credits(actor=admin, user=alice, amount=CREDIT, key="g")

    for user, amount in ((alice, 2 * CREDIT), (bob, CREDIT)):
        with pytest.raises(Conflict) as refusal:
            grant_credits(actor=admin, user=user, amount=amount, key="g")
        assert refusal.value.code == "credit_key_reused"
    assert (balance(alice), balance(bob)) == (101 * CREDIT, 100 * CREDIT)


def test_a_reservation_ends_once(alice: User) -> None:
    reservation = reserve(user=alice, amount=10 * CREDIT, key="r", subject=RUN)
    settle(reservation=reservation, used=4 * CREDIT)

    with pytest.raises(Conflict):
        release(reservation=reservation)
    with pytest.raises(Conflict):
        settle(reservation=reservation, used=0)

    assert balance(alice) == 96 * CREDIT


@pytest.mark.parametrize("amount", [100 * CREDIT + 1, 10**15])
def test_more_than_the_balance_is_refused_to_ml_users(alice: User, amount: int) -> None:
    with pytest.raises(InsufficientCredits) as refusal:
        reserve(user=alice, amount=amount, key="r", subject=RUN)

    assert refusal.value.code == "insufficient_credits"
    assert balance(alice) == 100 * CREDIT
    assert not CreditEntry.objects.filter(key="r").exists()


def test_an_estimate_of_nothing_still_needs_credits(alice: User) -> None:
    reserve(user=alice, amount=0, key="r", subject=RUN)

    with pytest.raises(InsufficientCredits):
        reserve(user=make_user(), amount=0, key="s", subject=RUN)


def test_engineers_are_metered_but_not_stopped(erin: User) -> None:
    reserve(user=erin, amount=CREDIT, key="r", subject=RUN)

    assert balance(erin) == -CREDIT


def test_a_hard_limit_stops_an_engineer() -> None:
    limited = make_user("ml_engineer", has_hard_limit=True)

    with pytest.raises(InsufficientCredits):
        reserve(user=limited, amount=CREDIT, key="r", subject=RUN)


@pytest.mark.parametrize("amount", [0, -1, 10**15 + 1, True, 1.5, "1"])
def test_amounts_are_positive_whole_and_bounded(admin: User, alice: User, amount: int) -> None:
    with pytest.raises(Invalid) as refusal:
        grant_credits(actor=admin, user=alice, amount=amount, key="g")

    assert (refusal.value.code, refusal.value.field) == ("credit_amount_invalid", "amount")
    assert balance(alice) == 100 * CREDIT


@pytest.mark.parametrize(("key", "note"), [("", ""), ("k" * 121, ""), ("k\x00", ""), ("k", "\ud800"), ("k", "n" * 201)])
def test_keys_and_notes_must_be_storable(admin: User, alice: User, key: str, note: str) -> None:
    with pytest.raises(Invalid):
        grant_credits(actor=admin, user=alice, amount=CREDIT, key=key, note=note)

    assert balance(alice) == 100 * CREDIT


def test_an_account_has_an_upper_bound(admin: User, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(ml_credits=10**18)

    with pytest.raises(Invalid) as refusal:
        grant_credits(actor=admin, user=alice, amount=1, key="g")

    assert refusal.value.code == "credit_balance_too_large"
    assert not CreditEntry.objects.filter(key="g").exists()


def test_only_admins_grant_and_refund(alice: User, erin: User) -> None:
    for actor in (alice, erin):
        with pytest.raises(Forbidden):
            grant_credits(actor=actor, user=alice, amount=CREDIT, key="g")
        with pytest.raises(Forbidden):
            refund_credits(actor=actor, user=alice, amount=CREDIT, key="f")

    assert balance(alice) == 100 * CREDIT


def test_a_cached_balance_that_lies_is_found(alice: User, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(ml_credits=1)

    assert list(unproven_balances()) == [(bob, 100 * CREDIT)]


@pytest.mark.django_db(transaction=True)
def test_concurrent_reservations_never_pass_together() -> None:
    user = make_user(credits=10)
    outcomes: list[str] = []

    def reserve_four(number: int) -> None:
        try:
            reserve(user=user, amount=4 * CREDIT, key=f"r{number}", subject=RUN)
            outcomes.append("reserved")
        except InsufficientCredits:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=reserve_four, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["refused"] * 3 + ["reserved"] * 2
    assert balance(user) == 2 * CREDIT


@pytest.mark.django_db(transaction=True)
def test_concurrent_grants_with_one_key_give_once() -> None:
    user = make_user()
    lines: list[UUID] = []

    def grant() -> None:
        lines.append(grant_credits(actor=operator(), user=user, amount=CREDIT, key="once").pk)
        connection.close()

    threads = [threading.Thread(target=grant) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(lines) == 5
    assert len(set(lines)) == 1
    assert balance(user) == CREDIT


def test_the_check_says_which_balances_differ_and_fails(alice: User, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(ml_credits=1)
    out, err = StringIO(), StringIO()

    with pytest.raises(CommandError, match="1 balances differ"):
        call_command("check_credits", stdout=out, stderr=err)

    assert err.getvalue() == "bob: cached 1, ledger 100000000 micro-credits\n"
    bob.refresh_from_db()
    assert bob.ml_credits == 1


def test_the_repair_caches_what_the_ledger_says_and_leaves_a_trail(alice: User, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(ml_credits=1)
    lines, states = list(CreditEntry.objects.values_list("pk", "amount")), alice.history.count()
    out = StringIO()

    call_command("check_credits", "--repair", stdout=out, stderr=StringIO())
    call_command("check_credits", stdout=out)

    assert balance(bob) == 100 * CREDIT
    assert bob.history.first().history_change_reason == "repair_balance: 1 -> 100000000"
    assert alice.history.count() == states
    assert list(CreditEntry.objects.values_list("pk", "amount")) == lines
    assert "bob: now 100000000 micro-credits" in out.getvalue()


def test_only_admins_repair(alice: User, erin: User) -> None:
    User.objects.filter(pk=alice.pk).update(ml_credits=1)
    for actor in (alice, erin):
        with pytest.raises(Forbidden):
            repair_balance(actor=actor, user=alice)
    alice.refresh_from_db()
    assert alice.ml_credits == 1
