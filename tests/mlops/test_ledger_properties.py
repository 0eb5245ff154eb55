"""The ledger against a model of it: whatever is done in whatever order, and however often, the sums are right."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from mlops.errors import Conflict, DomainError, InsufficientCredits
from mlops.models import CreditEntry, User
from mlops.selectors import unproven_balances
from mlops.services.credits import Subject, grant_credits, refund_credits, release, reserve, settle
from mlops.services.history import operator
from tests.factories import make_user

AMOUNTS = st.one_of(st.integers(1, 50), st.integers(1, 10**15))
RESERVED = st.integers(0, 60)
USED = st.integers(0, 80)
KEYS = st.sampled_from([f"key{number}" for number in range(12)])
WHO = st.integers(0, 2)


class Crash(Exception):
    """A process that dies before its transaction commits."""


@contextmanager
def perhaps_crashing(is_crashing: bool) -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
            if is_crashing:
                raise Crash
    except Crash:
        pass


class Ledger(RuleBasedStateMachine):
    """Two accounts that credits stop and one that they do not; `balances`, `lines` and `ended` are what must be so.

    Each example is a savepoint of the test's transaction, so that none meets the rows of another.
    """

    reservations = Bundle("reservations")

    def __init__(self) -> None:
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.users = [make_user(), make_user("ml_engineer", has_hard_limit=True), make_user("ml_engineer")]
        self.balances = [0, 0, 0]
        self.beyond = [0, 0, 0]
        self.lines: dict[str, tuple[object, ...]] = {}
        self.ended: dict[str, int] = {}

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    def _book(self, key: str, content: tuple[object, ...], who: int, amount: int, is_crashing: bool) -> None:
        """What the model says of a line that the ledger took."""
        assert self.lines.get(key, content) == content
        if key not in self.lines and not is_crashing:
            self.lines[key] = content
            self.balances[who] += amount

    @rule(who=WHO, amount=AMOUNTS, key=KEYS, is_refund=st.booleans(), is_crashing=st.booleans())
    def give(self, who: int, amount: int, key: str, is_refund: bool, is_crashing: bool) -> None:
        verb = refund_credits if is_refund else grant_credits
        content = (verb.__name__, who, amount)
        try:
            with perhaps_crashing(is_crashing):
                verb(actor=operator(), user=self.users[who], amount=amount, key=key)
        except Conflict:
            assert self.lines.get(key, content) != content
        else:
            self._book(key, content, who, amount, is_crashing)

    @rule(target=reservations, who=WHO, amount=RESERVED, key=KEYS, is_crashing=st.booleans())
    def reserve(self, who: int, amount: int, key: str, is_crashing: bool) -> object:
        content = ("reserve", who, amount)
        subject = Subject("work", uuid.uuid5(uuid.NAMESPACE_OID, key))
        user = User.objects.get(pk=self.users[who].pk)
        try:
            with perhaps_crashing(is_crashing):
                line = reserve(user=user, amount=amount, key=key, subject=subject)
        except InsufficientCredits:
            assert user.is_stopped_by_credits
            assert self.balances[who] < max(amount, 1)
            return multiple()
        except Conflict:
            assert self.lines.get(key, content) != content
            return multiple()
        if key not in self.lines and user.is_stopped_by_credits:
            assert self.balances[who] >= max(amount, 1)
        self._book(key, content, who, -amount, is_crashing)
        return multiple() if is_crashing and not CreditEntry.objects.filter(pk=line.pk).exists() else line

    @rule(line=reservations, used=USED, is_release=st.booleans(), is_crashing=st.booleans())
    def end(self, line: CreditEntry, used: int, is_release: bool, is_crashing: bool) -> None:
        used = 0 if is_release else used
        who = next(number for number, user in enumerate(self.users) if user.pk == line.user_id)
        try:
            with perhaps_crashing(is_crashing):
                release(reservation=line) if is_release else settle(reservation=line, used=used)
        except Conflict:
            assert self.ended.get(line.key, used) != used
            return
        assert self.ended.get(line.key, used) == used
        if line.key not in self.ended and not is_crashing:
            self.ended[line.key] = used
            self.beyond[who] += max(used + line.amount, 0)
            self.balances[who] -= used + line.amount

    @rule(who=WHO, amount=st.sampled_from([0, -1, 10**15 + 1, True, 1.0, "1", float("nan")]), key=KEYS)
    def give_nonsense(self, who: int, amount: int, key: str) -> None:
        with pytest.raises(DomainError):
            grant_credits(actor=operator(), user=self.users[who], amount=amount, key=key)

    @invariant()
    def balances_are_the_sums(self) -> None:
        cached = dict(User.objects.values_list("pk", "ml_credits"))
        assert [cached[user.pk] for user in self.users] == self.balances
        assert list(unproven_balances()) == []

    @invariant()
    def nobody_who_is_limited_is_below_zero_but_by_what_went_beyond_a_reservation(self) -> None:
        for number, user in enumerate(self.users):
            if user.is_stopped_by_credits:
                assert self.balances[number] >= -self.beyond[number]

    @invariant()
    def every_reservation_ends_at_most_once(self) -> None:
        ends = CreditEntry.objects.filter(kind__in=["settle", "release"])
        assert ends.count() == len(self.ended)
        assert ends.count() == ends.values("subject_id").distinct().count()


@pytest.mark.django_db
def test_the_ledger_is_its_model() -> None:
    chosen = settings(max_examples=40, stateful_step_count=30, deadline=None, database=None)
    run_state_machine_as_test(Ledger, settings=chosen)
