"""The sweeper of leaked reservations: what is over is ended once, what lives is left alone, no line is forgotten."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from mlops.errors import Conflict
from mlops.models import CreditEntry, ReservationSweep, User
from mlops.selectors import proven_balance
from mlops.services import reservations
from mlops.services.credits import Subject, release, reserve, settle
from mlops.services.reservations import GRACE, LONGEST, Swept, by_age, judge_reservations, sweep_reservations
from mlops.tasks import sweep_leaked_reservations
from tests.factories import make_user

pytestmark = pytest.mark.django_db
CREDIT = 10**6
OLD = GRACE + timedelta(minutes=1)


class Work:
    """Work of a kind of its own: what is over, and with how much used."""

    def __init__(self) -> None:
        self.over: dict[UUID, int] = {}

    def judge(self, lines: Sequence[CreditEntry]) -> Mapping[UUID, int]:
        return {line.pk: self.over[line.subject_id] for line in lines if line.subject_id in self.over}


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    monkeypatch.setattr(reservations, "_judges", dict(reservations._judges))
    work = Work()
    judge_reservations("work", work.judge)
    return work


def reserved(user: User, *, age: timedelta = OLD, kind: str = "work") -> CreditEntry:
    line = reserve(user=user, amount=CREDIT, key=str(uuid.uuid4()), subject=Subject(kind, uuid.uuid4()))
    CreditEntry.objects.filter(pk=line.pk).update(created_at=timezone.now() - age)
    line.refresh_from_db()
    return line


def over(work: Work, line: CreditEntry, used: int = 0) -> CreditEntry:
    assert line.subject_id is not None
    work.over[line.subject_id] = used
    return line


def ends_of(line: CreditEntry) -> list[tuple[str, int, int]]:
    ends = CreditEntry.objects.filter(subject_id=line.subject_id).exclude(pk=line.pk)
    return list(ends.values_list("kind", "amount", "used"))


def balance(user: User) -> int:
    user.refresh_from_db()
    assert user.ml_credits == proven_balance(user)
    return user.ml_credits


def test_what_is_over_is_ended_with_what_it_used_and_what_lives_is_left_alone(alice: User, work: Work) -> None:
    released, charged = over(work, reserved(alice)), over(work, reserved(alice), used=CREDIT // 4)
    living = reserved(alice)

    sweep_leaked_reservations()

    assert ends_of(released) == [("release", CREDIT, 0)]
    assert ends_of(charged) == [("settle", CREDIT - CREDIT // 4, CREDIT // 4)]
    assert ends_of(living) == []
    assert balance(alice) == 99 * CREDIT - CREDIT // 4


def test_a_young_reservation_is_not_looked_at(alice: User, work: Work) -> None:
    line = over(work, reserved(alice, age=GRACE - timedelta(minutes=1)))

    assert sweep_reservations() == Swept(0, 0, is_done=True)
    assert ends_of(line) == []


def test_what_was_ended_is_not_ended_again(alice: User, work: Work) -> None:
    settled, released = over(work, reserved(alice)), over(work, reserved(alice))
    settle(reservation=settled, used=5)
    release(reservation=released)

    assert sweep_reservations() == Swept(2, 0, is_done=True)
    assert balance(alice) == 100 * CREDIT - 5


def test_who_lives_long_is_looked_at_again_and_the_others_are_not(alice: User, work: Work) -> None:
    for _ in range(3):
        release(reservation=reserved(alice, age=3 * OLD))
    living = reserved(alice, age=2 * OLD)
    release(reservation=reserved(alice))
    assert sweep_reservations() == Swept(5, 0, is_done=True)
    assert sweep_reservations() == Swept(2, 0, is_done=True)

    over(work, living)

    assert sweep_reservations() == Swept(2, 1, is_done=True)
    assert sweep_reservations().looked_at == 0
    assert ends_of(living) == [("release", CREDIT, 0)]


def test_a_call_looks_at_a_bounded_number_and_the_next_goes_on_behind_them(
    alice: User, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "CHUNK", 2)
    monkeypatch.setattr(reservations, "CHUNKS", 2)
    lines = [over(work, reserved(alice)) for _ in range(7)]
    moment = timezone.now() - OLD
    CreditEntry.objects.filter(pk__in=[line.pk for line in lines]).update(created_at=moment)  # all in one microsecond

    assert sweep_reservations() == Swept(4, 4)
    assert sweep_reservations() == Swept(3, 3, is_done=True)
    assert all(ends_of(line) == [("release", CREDIT, 0)] for line in lines)


def test_lines_of_a_clock_that_was_set_back_are_found(alice: User, work: Work) -> None:
    """The mark stands where the clock was; what is written now lies behind it."""
    ReservationSweep.objects.create(position=timezone.now() + timedelta(hours=5))
    assert sweep_reservations() == Swept(0, 0, is_done=True)

    line = over(work, reserved(alice, age=GRACE - timedelta(seconds=1)))
    CreditEntry.objects.filter(pk=line.pk).update(created_at=timezone.now() - GRACE)

    assert sweep_reservations() == Swept(1, 1, is_done=True)
    assert ends_of(line) == [("release", CREDIT, 0)]


def test_work_without_a_row_is_over_after_a_day(alice: User, work: Work) -> None:
    judge_reservations("trial", by_age)
    young = reserved(alice, kind="trial")
    lost = reserved(alice, kind="trial", age=LONGEST + timedelta(minutes=1))

    sweep_reservations()

    assert (ends_of(young), ends_of(lost)) == ([], [("release", CREDIT, 0)])


def test_an_unknown_kind_is_never_released_and_said_aloud(
    alice: User, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    line = reserved(alice, kind="riddle", age=3 * LONGEST)

    sweep_reservations()

    assert ends_of(line) == []
    assert "Nobody can tell what became of reservations for riddle" in caplog.text


def test_the_work_of_an_endless_ledger_is_found_by_the_index(alice: User, work: Work) -> None:
    reserved(alice)
    mark = ReservationSweep()
    if connection.vendor == "postgresql":  # a table of one line is read whole otherwise
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert "credit_entry_reservations" in reservations._after(mark)[:5].explain()


@pytest.mark.django_db(transaction=True)
def test_a_process_that_settles_meanwhile_and_the_sweeper_end_it_once(work: Work) -> None:
    user = make_user(credits=100)
    lines = [over(work, reserved(user)) for _ in range(40)]

    def settle_all() -> None:
        for line in lines:
            with suppress(Conflict):  # the sweeper was faster
                settle(reservation=line, used=7)
        connection.close()

    settling = threading.Thread(target=settle_all)
    settling.start()
    swept = sweep_reservations()
    settling.join()

    ends = [ends_of(line) for line in lines]
    assert all(end in ([("release", CREDIT, 0)], [("settle", CREDIT - 7, 7)]) for end in ends)
    assert swept.ended == ends.count([("release", CREDIT, 0)])
    assert balance(user) == 100 * CREDIT - 7 * ends.count([("settle", CREDIT - 7, 7)])
