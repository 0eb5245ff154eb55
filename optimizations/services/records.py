"""What a compile stores while its optimizer works: answers that were paid for, candidates, progress.

DSPy calls from threads of its own, any number of them. All of it goes through one thread with one connection; answers
that wait for it together are stored together. Candidates and progress are stored under the job's lease: a worker that
lost the job finds out with the next of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from types import TracebackType
from typing import Any, Self, TypeVar

from django.db import IntegrityError, connection

from mlops.services.jobs import Held, Stopped, StopReason
from optimizations.models import Candidate, MemoEntry, Optimization
from optimizations.runtime.guard import Spent
from optimizations.runtime.memo import spent_from
from optimizations.runtime.ports import CompilePorts
from optimizations.services.ending import spent_by
from optimizations.services.spending import Spending
from optimizations.types import CandidateFound, CompileProgress, FinishReason

T = TypeVar("T")
COMPILING = "compiling"

PAID_AGAIN = "again:"
"""Begins the `request_hash` of an answer that two workers have paid for, the second time: nobody is given it."""


class Records:
    """The ports of one compile onto its rows. A context manager: its thread ends with it."""

    def __init__(self, held: Held[Optimization], spending: Spending) -> None:
        self._held = held
        self._job = held.job
        self._spending = spending
        self._seconds_before = held.job.seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile-records", initializer=_wait_for_no_disk)
        self._waiting: deque[MemoEntry] = deque()
        self._stored: set[tuple[str, int]] = set()
        self._spent = Spent()
        """By all attempts. Belongs to the thread."""
        self._has_told = False

    def __enter__(self) -> Self:
        self._stored = set(self._job.memo_entries.values_list("request_hash", "occurrence"))
        self._spent = spent_by(self._job)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._spending.tell()
        finally:
            self._thread.submit(lambda: connection.close())  # noqa: PLW0108  # that of the thread, not of who asks here
            self._thread.shutdown()

    def ports(self) -> CompilePorts:
        return CompilePorts(
            memo_get=self._remembered,
            memo_put=self._remember,
            should_stop=self._should_stop,
            on_candidate=self._keep,
            on_progress=self._report,
        )

    def _remembered(self, request_hash: str, occurrence: int) -> Mapping[str, Any] | None:
        """The stored answer. What this run has stored itself it never asks for again."""
        if (request_hash, occurrence) not in self._stored:
            return None
        entries = self._job.memo_entries.filter(request_hash=request_hash, occurrence=occurrence)
        found: Mapping[str, Any] = self._there(lambda: entries.values_list("response", flat=True).get())
        return found

    def _remember(self, request_hash: str, occurrence: int, stored: Mapping[str, Any]) -> None:
        """Store an answer at once: it stands between every two calls.

        Whatever worker paid for it, it is the answer to this request; of two the first one stays, and the other is kept
        for what it cost. The lease is looked at as its keeper knows it, and afterwards: the answer is paid for.
        """
        self._spending.paid(stored)
        self._waiting.append(
            MemoEntry(optimization=self._job, request_hash=request_hash, occurrence=occurrence, response=dict(stored))
        )
        self._there(self._store_waiting)
        if self._held.stop_reason is StopReason.LOST:
            raise Stopped(StopReason.LOST)

    def _store_waiting(self) -> None:
        """Store the answers that wait: none if somebody before has done it. What fails here ends the compile."""
        entries = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not entries:
            return
        try:
            if len(entries) > 1:
                MemoEntry.objects.bulk_create(entries)
            else:
                entries[0].save(force_insert=True)
        except IntegrityError:
            for entry in entries:
                _store_or_keep(entry)
        self._spent = reduce(Spent.plus, (spent_from(entry.response) for entry in entries), self._spent)
        self._held.get_on()

    def _should_stop(self) -> FinishReason | None:
        """A cancelled job ends with what it has found, and so does one that a budget does not cover any more; one that
        is handed back or lost ends here as if killed."""
        reason = self._held.stop_reason
        if reason is None:
            return FinishReason.BUDGET if self._spending.is_exhausted() else None
        if reason is StopReason.CANCELLED:
            return FinishReason.CANCELLED
        raise Stopped(reason)

    def _keep(self, found: CandidateFound) -> None:
        """Store a candidate. One that an earlier attempt has found too stays as it is, with what it took then."""

        def store() -> None:
            with self._held.guard() as row:
                known = Candidate.objects.filter(optimization=row, number=found.number).first()
                if known is None:
                    Candidate.objects.create(optimization=row, number=found.number, **_columns(found))
                    self._held.get_on()
                elif known.digest != found.digest:
                    Candidate.objects.filter(pk=known.pk).update(**_columns(found))

        self._there(store)

    def _report(self, progress: CompileProgress) -> None:
        """Store how far it is: that alone does not mean that the job gets on, since a resumed one comes by here again.

        What was used is what all attempts have paid for, of which a resumed one knows a part only.
        """
        is_first, self._has_told = not self._has_told, True

        def store() -> None:
            used = {"calls": self._spent.calls, "cost": self._spent.cost}
            tokens = self._spent.usage.total
            try:
                self._held.report(
                    {**progress.as_json(), **used, "tokens": tokens, "phase": COMPILING},
                    force=is_first,
                    lasting=False,
                    **used,
                    total_tokens=tokens,
                    seconds=self._seconds_before + progress.seconds,
                )
            except Stopped as stop:
                if stop.reason is not StopReason.CANCELLED:  # that is heard before the next call, and ends in order
                    raise

        self._there(store)

    def _there(self, call: Callable[[], T]) -> T:
        return self._thread.submit(call).result()


def _store_or_keep(entry: MemoEntry) -> None:
    """Store an answer under its name, or where another worker has stored one, for what it cost."""
    try:
        entry.save(force_insert=True)
    except IntegrityError:
        entry.request_hash = f"{PAID_AGAIN}{entry.pk.hex}"
        entry.save(force_insert=True)


def _wait_for_no_disk() -> None:
    """Have PostgreSQL, as SQLite here, answer before its disk does: a lost worker loses nothing by it, and a database
    server that crashes at most the answers of its last second."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = off")


def _columns(found: CandidateFound) -> dict[str, Any]:
    return {
        "label": found.label,
        "state": found.state.as_json(),
        "digest": found.digest,
        "score": found.score,
        "n": found.n,
        "scored_on": found.scored_on.value,
        "is_partial": found.is_partial,
        "calls": found.calls,
        "token_usage": found.usage.as_json(),
        "cost": found.cost,
        "seconds": found.seconds,
    }
