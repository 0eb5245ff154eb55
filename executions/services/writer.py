"""The group-commit writer: one thread per process that stores starts and ends of executions.

Whatever queued while the last commit ran goes into the next transaction, so that under load many executions share one
commit, and a single one waits for nobody. Each caller awaits its own durability. An end is handed over when its start
is durable, so they are never in one batch; inside of a batch ends come first, and what they give back of the credits
that they had reserved is there for its starts.

Credits move in the same transaction as the row they belong to. A row that no database can store is found by bisection
and fails alone; a lost connection is tried again for `PATIENCE_S`, which is safe since every statement can be repeated.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction

from executions.errors import database_unavailable, saturated
from executions.models import Execution
from executions.services import bulk
from executions.services.ledger import reservation, settlement
from mlops.models import IdempotencyRecord
from mlops.services.credits import floor_of, insufficient_credits
from mlops.services.nudges import nudge

logger = logging.getLogger(__name__)

MAX_BATCH = 256
MAX_BACKLOG = 4096
PATIENCE_S = 20.0
"""How long a batch is tried again while the database does not answer."""

KEYS = IdempotencyRecord._meta.db_table
SPEND = f"""
    ON CONFLICT (user_id, key) DO UPDATE SET digest = excluded.digest, subject_kind = excluded.subject_kind,
        subject_id = excluded.subject_id, created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE {KEYS}.expires_at <= excluded.created_at
"""
"""A key that has expired can be spent again."""


@dataclass(frozen=True, slots=True)
class Start:
    """A new execution, `pending` or already `running` here. `is_limited`: its user must have the credits."""

    execution: Execution
    is_limited: bool
    idempotency: IdempotencyRecord | None = None


@dataclass(slots=True)
class Finish:
    """An execution that has ended in this process; stored if the process still holds its lease.

    `balance` becomes its user's balance in micro-credits when credits moved.
    """

    execution: Execution
    balance: int | None = None


Job: TypeAlias = Start | Finish
Outcome: TypeAlias = bool | Exception
"""True: stored. False: an end that met no lease, or a start whose idempotency key was spent. Else why not."""


class GroupWriter:
    """See the module. `start` belongs on the event loop that will call `store`."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[Job, asyncio.Future[bool]] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread = threading.Thread(target=self._run, name="group-writer", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Everything that was queued is stored first."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    async def store(self, job: Job) -> bool:
        """Whether `job` is durable now. Raises `Unavailable` when too much waits or the database stays away."""
        if self._waiting >= MAX_BACKLOG and isinstance(job, Start):
            raise saturated()
        future: asyncio.Future[bool] = self._loop.create_future()
        self._waiting += 1
        self._queue.put((job, future))
        return await asyncio.shield(future)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            taken = [self._queue.get()]
            while len(taken) < MAX_BATCH and taken[-1] is not None and not self._queue.empty():
                taken.append(self._queue.get_nowait())  # the only consumer: cannot be empty
            is_last = taken[-1] is None
            batch = [item for item in taken if item is not None]
            if batch:
                outcomes = _stored([job for job, _ in batch])
                self._loop.call_soon_threadsafe(self._settle, batch, outcomes)
                nudge(Execution)
        connection.close()

    def _settle(self, batch: Sequence[tuple[Job, asyncio.Future[bool]]], outcomes: Sequence[Outcome]) -> None:
        self._waiting -= len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _stored(jobs: Sequence[Job]) -> list[Outcome]:
    """Commit `jobs`, whatever it takes within `PATIENCE_S`.

    Two ends of one execution, of a lost attempt and of the one that replaced it, go one after the other: in one batch
    nobody could tell whose ledger line is the right one.
    """
    if again := _second_mention(jobs):
        return _stored(jobs[:again]) + _stored(jobs[again:])
    give_up, pause, is_repeated = time.monotonic() + PATIENCE_S, 0.05, False
    while True:
        try:
            return _commit(jobs, is_repeated)
        except (OperationalError, InterfaceError) as error:
            connection.close()
            if time.monotonic() + pause > give_up:
                logger.exception("The database stayed away; %d writes are given up", len(jobs))
                return [database_unavailable() for _ in jobs]
            logger.warning("The database does not answer (%s); trying again", type(error).__name__)
            time.sleep(pause)
            pause, is_repeated = min(pause * 2, 1.0), True
        except Exception as error:
            if len(jobs) == 1:
                logger.exception("An execution could not be stored")
                return [error]
            middle = len(jobs) // 2
            return _stored(jobs[:middle]) + _stored(jobs[middle:])


def _second_mention(jobs: Sequence[Job]) -> int:
    """Where the first job is whose execution is another's too, or 0."""
    seen: set[UUID] = set()
    for position, job in enumerate(jobs):
        if job.execution.pk in seen:
            return position
        seen.add(job.execution.pk)
    return 0


def _commit(jobs: Sequence[Job], is_repeated: bool) -> list[Outcome]:
    """One transaction for all `jobs`. A repeated one first asks which starts the lost commit had stored."""
    starts = [job for job in jobs if isinstance(job, Start)]
    ends = [job for job in jobs if isinstance(job, Finish)]
    if connection.vendor == "postgresql" and not is_repeated and not any(map(_must_be_admitted, starts)):
        stored = _store(starts, ends)  # one statement, and thereby a transaction
        done, refused = {job.execution.pk for job in starts}, dict[Any, Exception]()
    else:
        with transaction.atomic(durable=True):
            ended = _store([], ends, _accounts_of(starts))
            done = _already_stored(starts) if is_repeated else set()
            fresh, refused = _admitted([job for job in starts if job.execution.pk not in done], ended.balances)
            fresh = _with_their_keys(fresh)
            begun = _store(fresh, [])
            stored = bulk.Stored(ended.met, {**ended.balances, **begun.balances})
            done |= {job.execution.pk for job in fresh}
    for end in ends:
        end.balance = stored.balances.get(end.execution.user_id)
    done |= stored.met
    return [refused.get(job.execution.pk, job.execution.pk in done) for job in jobs]


def _must_be_admitted(start: Start) -> bool:
    return start.is_limited or start.idempotency is not None


def _accounts_of(starts: Sequence[Start]) -> set[UUID]:
    """Those that `starts` look at or change. They are locked together with those of the ends, in one order: to lock the
    unlimited ones later, when their reservations are stored, could be waiting in a circle."""
    return {job.execution.user_id for job in starts if job.is_limited or job.execution.credits_reserved}


def _store(starts: Sequence[Start], ends: Sequence[Finish], locking: Collection[UUID] = ()) -> bulk.Stored:
    if not starts and not ends and not locking:
        return bulk.Stored(set(), {})
    started = [job.execution for job in starts]
    finished = [job.execution for job in ends]
    lines = [*map(reservation, started), *map(settlement, finished)]
    return bulk.store(started, finished, [line for line in lines if line is not None], locking)


def _already_stored(starts: Sequence[Start]) -> set[Any]:
    keys = [job.execution.pk for job in starts]
    return set(Execution.objects.filter(pk__in=keys).values_list("pk", flat=True))


def _admitted(starts: Sequence[Start], balances: Mapping[UUID, int]) -> tuple[list[Start], dict[Any, Exception]]:
    """Those whose key is not spent and whose user has the credits, in the order in which they came; and the refused.

    The key is looked at first: a repetition must be answered as the first request was, whatever it would cost now.
    `balances` are of locked accounts: nobody else can admit or end anything of theirs meanwhile. Who is refused takes
    nothing from those behind: a small execution may pass where a large one did not.
    """
    available = dict(balances)
    spent = _keys_spent([job.idempotency for job in starts if job.idempotency is not None])
    admitted: list[Start] = []
    refused: dict[Any, Exception] = {}
    for job in starts:
        execution, key = job.execution, _key(job.idempotency)
        if key in spent:
            continue
        if job.is_limited and (missing := _missing_credits(execution, available)):
            refused[execution.pk] = missing
            continue
        if job.is_limited:
            available[execution.user_id] -= execution.credits_reserved
        if key is not None:
            spent.add(key)
        admitted.append(job)
    return admitted, refused


def _missing_credits(execution: Execution, available: dict[Any, int]) -> Exception | None:
    needed, at_hand = floor_of(execution.credits_reserved), available.get(execution.user_id, 0)
    return insufficient_credits(needed, at_hand) if at_hand < needed else None


def _key(record: IdempotencyRecord | None) -> tuple[Any, str] | None:
    return None if record is None else (record.user_id, record.key)


def _keys_spent(records: Sequence[IdempotencyRecord]) -> set[Any]:
    if not records:
        return set()
    same_keys = IdempotencyRecord.objects.live().filter(key__in={record.key for record in records})
    return set(same_keys.values_list("user_id", "key"))


def _with_their_keys(starts: Sequence[Start]) -> list[Start]:
    """Spend the keys of `starts`, in one order for all writers; those remain whose key nobody spent in the meantime."""
    records = [job.idempotency for job in starts if job.idempotency is not None]
    records.sort(key=lambda record: (record.user_id, record.key))
    inserted = bulk.insert(records, "subject_id", SPEND)
    stored = {str(key).replace("-", "") for key in inserted}
    return [job for job in starts if job.idempotency is None or job.execution.pk.hex in stored]
