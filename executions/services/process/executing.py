"""The executions of one event loop: admitted, run, claimed, kept by their leases, stored or handed back."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from executions.errors import shutting_down
from executions.models import Execution
from executions.services import leases
from executions.services.claims import Claims
from executions.services.late import LateAttempts, late_of
from executions.services.planning import Plan
from executions.services.running import Ending, Running
from executions.services.writer import Finish, GroupWriter, Start
from mlops.encoding import encoded
from mlops.models.base import new_id
from mlops.runtime.embeddings import aclose_embedding_models
from mlops.runtime.engines import aclose_language_models
from mlops.services.budgets import BudgetKeeper, Exhausted, Hold
from mlops.services.database import DatabaseThreads, serve_this_process
from mlops.services.watching import change_of, stop_watching, watchers_of

logger = logging.getLogger(__name__)

WATCH_S = 0.5
"""How long a cancellation from another process can go unnoticed."""

AGAIN_S = 1.0
"""After so long the queue gets back what could not begin since the database did not answer."""

DRAIN_S = 10.0
"""How long executions may go on after the process was asked to stop; what has not ended is handed back."""

T = TypeVar("T")


class ExecutionProcess:
    """See the module. Everything but `submit` and `wake` belongs to the loop that `start` ran on."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.database = DatabaseThreads()
        self.budgets = BudgetKeeper(self.database, self.name)
        self.running: dict[uuid.UUID, Running] = {}
        self._writer = GroupWriter()
        self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}
        self._leaving: list[Callable[[], Coroutine[Any, Any, None]]] = []

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        serve_this_process(self.database)
        self.watchers = watchers_of(Execution)
        self._claims = Claims(self)
        self._late = LateAttempts(self)
        self._writer.start()
        self._leases = asyncio.create_task(self._look_after_leases(), name="leases")

    async def stop(self) -> None:
        """Let what runs go on for `DRAIN_S`, hand back the rest, store everything."""
        self._stopping = True
        await self.end_claiming()
        await asyncio.gather(*(leave() for leave in self._leaving), return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_S)
        while self._tasks:  # an admission that ends only now has begun one more run
            for run in list(self.running.values()):
                run.end(Ending.HAND_BACK)
            await asyncio.wait(self._tasks)
        await self._late.stop()
        self._leases.cancel()
        await asyncio.gather(self._leases, return_exceptions=True)
        stop_watching()
        await self._writer.stop()
        await self.budgets.stop()
        await aclose_language_models()
        await aclose_embedding_models()
        serve_this_process(None)
        await asyncio.to_thread(self.database.close)

    async def begin_claiming(self) -> None:
        """Take pending executions from now on: this process is a worker."""
        self._claims.begin()

    async def end_claiming(self) -> None:
        """Take no more; what runs goes on."""
        await self._claims.end()

    def before_stop(self, leave: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await `leave` when the process stops, while everything can still be stored."""
        self._leaving.append(leave)

    @property
    def is_claiming(self) -> bool:
        return self._claims.is_on

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on this process's loop; callable from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    async def awaited(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, which runs on this process's loop, on whatever loop the caller is."""
        if self.loop is asyncio.get_running_loop():
            return await work
        return await asyncio.wrap_future(self.submit(work))

    def wake(self) -> None:
        """The doorbell: something may be pending. Callable from any thread."""
        self.loop.call_soon_threadsafe(self._claims.wake)

    async def once(self, key: Hashable, call: Callable[[], T]) -> T:
        """`call` on a database thread; of all that ask for `key` at the same time only the first one runs it."""
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self.database.run(call))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        return cast("T", await asyncio.shield(task))

    def refuse_if_stopping(self) -> None:
        """Raises `Unavailable` (`shutting_down`)."""
        if self._stopping:
            raise shutting_down()

    async def admit(self, job: Start) -> bool:
        """Store a new execution; False when its idempotency key was spent."""
        self.refuse_if_stopping()
        return await self._writer.store(job)

    def run(self, running: Running) -> None:
        """Run an execution whose lease this process holds.

        Where nothing was reserved of budgets for it, that is done first, and it fails where a budget does not cover it.
        """
        self.running[running.execution.pk] = running
        running.task = self.go_on(self._finish(running))

    def go_on(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """`work` in a task of its own: no client can undo it by leaving, and `stop` waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def abandon(self, running: Running) -> None:
        """Nobody reads it any more: it is cancelled, unless it has ended.

        While the process stops it goes on and is handed back: then it is the server that closes connections.
        """
        if not self._stopping:
            running.end(Ending.CANCEL)

    def lease(self) -> dict[str, Any]:
        """The arguments of `Execution.start` for an execution that this process takes now."""
        return {"lease_token": new_id(), "lease_expires_at": lease_end(), "leased_by": self.name}

    async def _finish(self, running: Running) -> Execution:
        execution, before = running.execution, dict(running.execution.token_usage)
        try:
            await self._work(running)
            is_mine = await (self._record(running) if execution.is_terminal else self._hand_back(running))
            if not is_mine and (late := late_of(execution, running.recorder, before)):
                self._late.add(late)
        except Exception as error:
            logger.exception("The end of execution %s could not be stored; its lease will expire", execution.pk)
            running.failure = error
        finally:
            self.running.pop(execution.pk, None)
            self._claims.room_was_made()
        return running.execution

    async def _work(self, running: Running) -> None:
        """Without a hold it has not begun afterwards; else it is as `Running.work` leaves it."""
        try:
            running.hold = hold = running.hold or await self._hold_if_there(running)
            if hold is None:
                return
            try:
                await running.work()
            finally:
                self.budgets.settle(hold, running.spent)
        except Exhausted as refusal:
            running.refuse(leases.refusal(refusal.told_to(None)))
        except Exception:
            logger.exception("Execution %s met what nobody foresaw", running.execution.pk)
            running.refuse(leases.internal_error())

    async def _hold_if_there(self, running: Running) -> Hold | None:
        """What is reserved of budgets; None when the database does not say. Raises `Exhausted`."""
        try:
            return await self.hold_for(running.execution, running.plan)
        except (OperationalError, InterfaceError):
            logger.warning("The database does not answer; execution %s goes back to the queue", running.execution.pk)
            await asyncio.sleep(AGAIN_S)
            return None

    async def hold_for(self, execution: Execution, plan: Plan) -> Hold:
        """Reserve of every budget in force what the execution is expected to cost. Raises `Exhausted`."""
        if not await self.budgets.are_any():
            return Hold()
        return await self.budgets.reserve(plan.charged(execution.user_id, encoded(execution.input)))

    async def _hand_back(self, running: Running) -> bool:
        has_begun = running.hold is not None
        return await self.database.run(lambda: leases.hand_back(running.execution, has_begun=has_begun))

    async def _record(self, running: Running) -> bool:
        """Whether it ended here; otherwise it becomes the row as others made it."""
        finish = Finish(running.execution)
        if await self.record(finish):
            running.balance = finish.balance
            return True
        logger.warning("Execution %s was taken over; this result is discarded", running.execution.pk)
        running.execution = await self.database.run(lambda: Execution.objects.get(pk=finish.execution.pk))
        return False

    async def record(self, finish: Finish) -> bool:
        """Store an end and announce it; False when this process holds the lease no longer."""
        is_mine = await self._writer.store(finish)
        if is_mine:
            self.watchers.offer(change_of(finish.execution))
        return is_mine

    async def _look_after_leases(self) -> None:
        """Hear of cancellations, and every third of a lease renew those of what runs here and hear which were lost."""
        renewed = timezone.now()
        while True:
            await asyncio.sleep(WATCH_S)
            if not self.running:
                continue
            try:
                await self._end_what_is_cancelled()
                if timezone.now() - renewed > timedelta(seconds=settings.SIGNET_LEASE_SECONDS / 3):
                    await self._renew()
                    renewed = timezone.now()
            except (OperationalError, InterfaceError):
                logger.warning("The database does not answer; leases are not renewed")
            except Exception:  # whoever looks after leases must not die of one mistake
                logger.exception("Leases are not renewed")

    async def _end_what_is_cancelled(self) -> None:
        for key in await self.database.run(lambda: leases.cancellations(self.name)):
            if run := self.running.get(key):
                run.end(Ending.CANCEL)

    async def _renew(self) -> None:
        tokens = {key: run.execution.lease_token for key, run in self.running.items()}
        until = lease_end()
        held = await self.database.run(lambda: leases.renew(tokens, until))
        for key, token in tokens.items():
            run = self.running.get(key)
            if key in held or run is None or run.execution.lease_token != token or not run.is_underway:
                continue  # ours, or it has ended by itself while the database was asked
            logger.warning("Execution %s was taken over; it is given up here", key)
            run.end(Ending.LOST)


def lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.SIGNET_LEASE_SECONDS)
