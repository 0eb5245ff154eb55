"""Jobs: taken once, kept by a lease, handed back when a worker goes, and ended exactly once.

Imports of files are the concrete job; what they do is told here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connections
from django.utils import timezone
from pytest_django import Settings

from datasets.models import Import
from mlops.errors import Conflict, Invalid
from mlops.models import User
from mlops.services.jobs import (
    MAX_IDLE_ATTEMPTS,
    Held,
    Stopped,
    StopReason,
    claim,
    request_cancel,
    resume_working,
    stop_working,
    sweep,
    when_ended,
    work_on,
    work_through,
)
from mlops.types import JobState
from tests.installation import eventually

pytestmark = pytest.mark.django_db(transaction=True)

WORKERS = 8


@pytest.fixture(autouse=True)
def _working() -> Iterator[None]:
    resume_working()
    yield
    resume_working()


def make_job(user: User, **fields: Any) -> Import:
    job: Import = Import.objects.create(
        user=user, kind="dataset", name="triage", file_name="triage.csv", format="csv", **fields
    )
    return job


def claimed(user: User) -> Import:
    make_job(user)
    job: Import | None = claim(Import.objects.all())
    assert job is not None
    return job


def now(job: Import) -> Import:
    found: Import = Import.objects.get(pk=job.pk)
    return found


def nothing(held: Held[Import]) -> None:
    """Work that has nothing to do."""


def until_stopped(held: Held[Import]) -> None:
    while True:
        held.check()
        time.sleep(0.01)


def expire(job: Import, **fields: Any) -> None:
    """As if the worker had been killed a while ago."""
    Import.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1), **fields)


def in_a_thread(call: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        try:
            call()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# Taking


def test_the_oldest_pending_job_is_taken(erin: User) -> None:
    first, second = make_job(erin), make_job(erin)

    job = claim(Import.objects.all())

    assert job is not None
    assert job.pk == first.pk
    stored = now(first)
    assert (stored.state, stored.attempt, stored.idle_attempts, stored.revision) == ("running", 1, 1, 2)
    assert stored.lease_token == job.lease_token
    assert stored.lease_expires_at is not None
    assert stored.lease_expires_at > timezone.now()
    assert stored.started_at is not None
    assert stored.leased_by
    assert now(second).state == JobState.PENDING


def test_nothing_is_taken_when_nothing_is_pending(erin: User) -> None:
    claimed(erin)

    assert claim(Import.objects.all()) is None


def test_of_many_workers_each_takes_another_job(erin: User) -> None:
    wanted = {make_job(erin).pk for _ in range(WORKERS * 3)}
    gate = threading.Barrier(WORKERS)

    def take(_: int) -> list[Import]:
        gate.wait(30)
        taken = []
        try:
            while job := claim(Import.objects.all()):
                taken.append(job)
        finally:
            connections.close_all()
        return taken

    with ThreadPoolExecutor(WORKERS) as pool:
        taken = [job for found in pool.map(take, range(WORKERS)) for job in found]

    assert len(taken) == len(wanted)
    assert {job.pk for job in taken} == wanted
    assert set(Import.objects.values_list("attempt", "state")) == {(1, "running")}
    assert Import.objects.values("lease_token").distinct().count() == len(wanted)


# Working


def test_work_that_returns_completes_its_job(erin: User) -> None:
    job = claimed(erin)

    assert work_on(job, nothing)

    stored = now(job)
    assert (stored.state, stored.error_code, stored.leased_by) == ("completed", "", "")
    assert (stored.lease_token, stored.lease_expires_at) == (None, None)
    assert stored.finished_at is not None


def test_a_refusal_fails_the_job_in_its_own_words(erin: User) -> None:
    job = claimed(erin)

    def refuse(held: Held[Import]) -> None:
        raise Invalid("file_unreadable", "The file cannot be read.")

    assert work_on(job, refuse)

    stored = now(job)
    assert (stored.state, stored.error_code, stored.error_message) == (
        "failed", "file_unreadable", "The file cannot be read."
    )  # fmt: skip


def test_what_nobody_foresaw_fails_the_job_without_telling_its_secrets(
    erin: User, caplog: pytest.LogCaptureFixture
) -> None:
    job = claimed(erin)

    def break_down(held: Held[Import]) -> None:
        raise ZeroDivisionError("the password is 1234")

    assert work_on(job, break_down)

    stored = now(job)
    assert (stored.state, stored.error_code) == ("failed", "internal_error")
    assert "1234" not in stored.error_message
    assert "met what nobody foresaw" in caplog.text


def test_work_may_end_its_job_itself_with_what_belongs_to_the_end(erin: User) -> None:
    job = claimed(erin)

    def work(held: Held[Import]) -> None:
        held.end(lambda row: row.complete(), also=lambda row: setattr(row, "report", {"rows": 3}))

    assert work_on(job, work)

    stored = now(job)
    assert (stored.state, stored.report, stored.revision) == ("completed", {"rows": 3}, 3)


def test_an_end_whose_companion_fails_is_no_end(erin: User) -> None:
    job = claimed(erin)

    def refuse(row: Import) -> None:
        raise Invalid("report_invalid", "No.")

    with Held(job) as held:
        with pytest.raises(Invalid):
            held.end(lambda row: row.complete(), also=refuse)

        assert now(job).state == JobState.RUNNING
        assert not held.has_ended


def refused(held: Held[Import]) -> None:
    raise Invalid("file_unreadable", "The file cannot be read.")


def broken(held: Held[Import]) -> None:
    raise ZeroDivisionError


def cancelled(held: Held[Import]) -> None:
    raise Stopped(StopReason.CANCELLED)


def lost(job: Import, **fields: Any) -> None:
    assert claim(Import.objects.filter(pk=job.pk)) is not None
    expire(job, **fields)
    sweep(Import)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda job: work_through(Import.objects.all(), nothing), "completed"),
        (lambda job: work_through(Import.objects.all(), refused), "failed"),
        (lambda job: work_through(Import.objects.all(), broken), "failed"),
        (lambda job: work_through(Import.objects.all(), cancelled), "cancelled"),
        (request_cancel, "cancelled"),
        (lambda job: lost(job, idle_attempts=MAX_IDLE_ATTEMPTS), "failed"),
        (lambda job: lost(job, cancel_requested_at=timezone.now()), "cancelled"),
    ],
)
def test_what_belongs_to_the_end_is_done_whoever_ends_the_job(
    erin: User, monkeypatch: pytest.MonkeyPatch, end: Callable[[Import], Any], state: str
) -> None:
    seen: list[str] = []

    def close(row: Import) -> None:
        seen.append(row.state)
        row.report = {"closed": True}

    monkeypatch.setattr("mlops.services.jobs.ending._closing", {})
    when_ended(Import, close)
    job = make_job(erin)
    lost(job)
    assert seen == []  # handed back

    end(job)

    assert (seen, now(job).state, now(job).report) == ([state], state, {"closed": True})


def test_a_job_does_not_end_without_what_belongs_to_its_end(erin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.services.jobs.ending._closing", {})

    def refuse(row: Import) -> None:
        raise Invalid("report_invalid", "No.")

    when_ended(Import, refuse)
    job = make_job(erin)

    with pytest.raises(Invalid):
        request_cancel(job)

    assert now(job).state == JobState.PENDING


def test_a_job_is_ended_by_exactly_one_of_two(erin: User) -> None:
    job = claimed(erin)
    with Held(job) as held:
        held.end(lambda row: row.complete())

        with pytest.raises(Stopped) as stop:
            held.end(lambda row: row.fail("late", "Too late."))

    assert stop.value.reason is StopReason.LOST
    assert (now(job).state, now(job).error_code) == ("completed", "")


def test_pending_jobs_are_worked_on_until_none_is_left(erin: User) -> None:
    wanted = [make_job(erin).pk for _ in range(3)]
    seen = []

    assert work_through(Import.objects.all(), lambda held: seen.append(held.job.pk)) == 3

    assert seen == wanted
    assert set(Import.objects.values_list("state", flat=True)) == {"completed"}


def test_a_second_doorbell_finds_the_place_taken_and_goes(erin: User) -> None:
    for _ in range(2):
        make_job(erin)
    seconds: list[int] = []

    def work(held: Held[Import]) -> None:
        seconds.append(work_through(Import.objects.all(), nothing))

    assert work_through(Import.objects.all(), work) == 2
    assert seconds == [0, 0]


def test_without_the_database_the_lease_is_left_to_expire(erin: User, caplog: pytest.LogCaptureFixture) -> None:
    job = claimed(erin)

    def lose_the_database(held: Held[Import]) -> None:
        raise OperationalError("server closed the connection")

    assert not work_on(job, lose_the_database)

    assert now(job).state == JobState.RUNNING
    assert "the lease of" in caplog.text


# Keeping the lease


def test_a_lease_is_renewed_while_work_goes_on(erin: User, settings: Settings) -> None:
    settings.SIGNET_LEASE_SECONDS = 2
    job = claimed(erin)
    first = now(job).lease_expires_at
    assert first is not None

    with Held(job):
        eventually(lambda: (now(job).lease_expires_at or first) > first)

        assert sweep(Import) == 0
        assert now(job).state == JobState.RUNNING


def test_whoever_lost_the_lease_writes_nothing_more(erin: User) -> None:
    job = claimed(erin)
    with Held(job) as held:
        expire(job)
        sweep(Import)
        other = claim(Import.objects.all())
        assert other is not None

        with pytest.raises(Stopped) as reporting:
            held.report({"done": 1}, force=True)
        with pytest.raises(Stopped) as ending:
            held.end(lambda row: row.complete())
        assert {reporting.value.reason, ending.value.reason} == {StopReason.LOST}
        with pytest.raises(Stopped), held.guard():
            pytest.fail("the guard let it in")
        held.end_stopped(StopReason.LOST)

    stored = now(job)
    assert (stored.state, stored.progress, stored.attempt) == ("running", {}, 2)
    assert stored.lease_token == other.lease_token


def test_work_hears_that_its_lease_was_taken(erin: User, settings: Settings) -> None:
    settings.SIGNET_LEASE_SECONDS = 1
    job = claimed(erin)

    def lose(held: Held[Import]) -> None:
        Import.objects.filter(pk=job.pk).update(lease_token=uuid4())
        until_stopped(held)

    assert not work_on(job, lose)

    assert now(job).state == JobState.RUNNING


# Progress


def test_progress_is_stored_now_and_then_and_says_that_the_job_gets_on(erin: User) -> None:
    job = claimed(erin)
    with Held(job) as held:
        held.report({"done": 1}, file_size=10)
        first = now(job)
        held.report({"done": 2}, file_size=20)
        second = now(job)
        held.report({"done": 3}, file_size=30, force=True)
        third = now(job)

    assert (first.progress, first.file_size, first.revision, first.idle_attempts) == ({"done": 1}, 10, 3, 0)
    assert (second.progress, second.file_size, second.revision) == ({"done": 1}, 10, 3)
    assert (third.progress, third.file_size, third.revision) == ({"done": 3}, 30, 4)


# Cancelling


def test_a_pending_job_is_cancelled_at_once(erin: User) -> None:
    job = make_job(erin)

    row = request_cancel(job)

    assert (row.state, now(job).state, now(job).revision) == ("cancelled", "cancelled", 2)
    assert now(job).finished_at is not None
    assert claim(Import.objects.all()) is None


def test_a_running_job_is_asked_to_stop_and_its_worker_cancels_it(erin: User) -> None:
    job = claimed(erin)
    worker = in_a_thread(lambda: work_on(job, until_stopped))

    row = request_cancel(job)
    worker.join(10)

    assert row.state == JobState.RUNNING
    assert not worker.is_alive()
    assert (now(job).state, now(job).error_code) == ("cancelled", "")


def test_a_second_cancellation_changes_nothing(erin: User) -> None:
    running, pending = claimed(erin), make_job(erin)
    first = {job.pk: request_cancel(job) for job in (running, pending)}

    for job in (running, pending):
        request_cancel(job)
        assert now(job).revision == first[job.pk].revision
        assert now(job).cancel_requested_at == first[job.pk].cancel_requested_at


@pytest.mark.parametrize("end", [lambda row: row.complete(), lambda row: row.fail("broken", "It broke.")])
def test_what_has_ended_otherwise_cannot_be_cancelled(erin: User, end: Callable[[Import], None]) -> None:
    job = claimed(erin)
    with Held(job) as held:
        held.end(end)
    before = now(job)

    with pytest.raises(Conflict) as refusal:
        request_cancel(job)

    assert refusal.value.code == "import_not_cancellable"
    assert (now(job).state, now(job).cancel_requested_at) == (before.state, None)


def test_work_that_ends_before_it_hears_of_the_cancellation_has_ended(erin: User) -> None:
    job = claimed(erin)

    def be_cancelled_at_the_last_moment(held: Held[Import]) -> None:
        request_cancel(job)

    assert work_on(job, be_cancelled_at_the_last_moment)

    assert now(job).state == JobState.COMPLETED


# Shutting down


def test_shutting_down_hands_the_job_back_and_takes_no_other(erin: User) -> None:
    first, second = make_job(erin), make_job(erin)
    worker = in_a_thread(lambda: work_through(Import.objects.all(), until_stopped))
    eventually(lambda: now(first).state == JobState.RUNNING)

    stop_working()
    worker.join(10)

    assert not worker.is_alive()
    stored = now(first)
    assert (stored.state, stored.attempt, stored.idle_attempts, stored.lease_token) == ("pending", 1, 0, None)
    assert stored.finished_at is None
    assert (now(second).state, now(second).attempt) == ("pending", 0)


def test_a_job_that_was_handed_back_goes_on_elsewhere(erin: User) -> None:
    job = claimed(erin)
    with Held(job) as held:
        held.end_stopped(StopReason.HANDED_BACK)
    assert not held.has_ended

    assert work_through(Import.objects.all(), nothing) == 1

    assert (now(job).state, now(job).attempt) == ("completed", 2)


# Sweeping


def test_jobs_of_lost_workers_are_handed_back(erin: User) -> None:
    lost, kept, waiting = claimed(erin), claimed(erin), make_job(erin)
    expire(lost)

    assert sweep(Import) == 2

    assert (now(lost).state, now(lost).lease_token, now(lost).idle_attempts) == ("pending", None, 1)
    assert now(kept).state == JobState.RUNNING
    assert now(waiting).state == JobState.PENDING


def test_a_job_that_kills_its_workers_fails_in_the_end(erin: User) -> None:
    job = make_job(erin)
    for attempt in range(1, MAX_IDLE_ATTEMPTS + 1):
        assert (now(job).state, now(job).attempt) == ("pending", attempt - 1)
        claim(Import.objects.all())
        expire(job)
        sweep(Import)

    stored = now(job)
    assert (stored.state, stored.error_code, stored.attempt) == ("failed", "lease_lost", MAX_IDLE_ATTEMPTS)
    assert claim(Import.objects.all()) is None


def test_a_job_that_gets_on_survives_any_number_of_lost_workers(erin: User) -> None:
    job = make_job(erin)
    for done in range(MAX_IDLE_ATTEMPTS * 2):
        taken = claim(Import.objects.all())
        assert taken is not None
        with Held(taken) as held:
            held.report({"done": done}, force=True)
        expire(job)
        sweep(Import)

    assert (now(job).state, now(job).attempt) == ("pending", MAX_IDLE_ATTEMPTS * 2)


def test_progress_that_every_attempt_makes_again_is_none(erin: User) -> None:
    job = make_job(erin)
    for _attempt in range(MAX_IDLE_ATTEMPTS):
        taken = claim(Import.objects.all())
        assert taken is not None
        with Held(taken) as held:
            held.report({"done": 1}, force=True, lasting=False)
        expire(job)
        sweep(Import)

    assert (now(job).state, now(job).error_code, now(job).progress) == ("failed", "lease_lost", {"done": 1})


def test_a_job_that_stores_between_its_reports_gets_on(erin: User) -> None:
    job = make_job(erin)
    for _attempt in range(MAX_IDLE_ATTEMPTS * 2):
        taken = claim(Import.objects.all())
        assert taken is not None
        with Held(taken) as held:
            held.report({"done": 1}, force=True, lasting=False)
            held.get_on()
            held.get_on()
        expire(job)
        sweep(Import)

    assert (now(job).state, now(job).idle_attempts) == ("pending", 0)


def test_whoever_lost_the_lease_does_not_say_that_the_job_gets_on(erin: User) -> None:
    job = claimed(erin)
    with Held(job) as held:
        expire(job)
        sweep(Import)
        assert claim(Import.objects.all()) is not None

        with pytest.raises(Stopped):
            held.get_on()

    assert (now(job).state, now(job).idle_attempts) == ("running", 2)


def test_a_cancelled_job_of_a_lost_worker_is_cancelled(erin: User) -> None:
    job = claimed(erin)
    request_cancel(job)
    expire(job)

    assert sweep(Import) == 0

    assert now(job).state == JobState.CANCELLED


def test_sweepers_that_meet_hand_back_once(erin: User) -> None:
    job = claimed(erin)
    expire(job)
    gate = threading.Barrier(4)

    def sweep_once(_: int) -> int:
        try:
            gate.wait(30)
            return sweep(Import)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sweep_once, range(4)))

    assert (now(job).state, now(job).revision) == ("pending", 3)
