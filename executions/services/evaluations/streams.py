"""One worker's work on one evaluation: a single stream of examples over successive shards.

It lives on the process's event loop: waiting for a model holds neither a thread nor a connection. The next shard is
taken while the last examples of the present ones are still to be started, so that there is no pause between shards.
What is done is stored a few times a second, many items in one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from executions.models import Evaluation
from executions.runtime.evaluate import Spending, evaluate_example, failed, spent
from executions.services.evaluations import shards
from executions.services.evaluations.allowance import Allowance, Verdict
from executions.services.evaluations.ending import finish_if_done
from executions.services.evaluations.readying import least_of_one, ready
from executions.services.evaluations.shards import Batch, Done, Ending, Standing, Task
from executions.services.evaluations.storing import AWAY, stored
from executions.services.leases import internal_error
from executions.services.process import ExecutionProcess
from executions.types import Budget, FinishReason
from mlops.encoding import encoded
from mlops.errors import DomainError
from mlops.runtime.recorder import Recorder
from mlops.services.budgets import Exhausted, Hold, Spent

logger = logging.getLogger(__name__)

T = TypeVar("T")

STORE_S = 0.2
STORE_ITEMS = 128
"""What is done is stored after this time, or when it is this many: what a killed worker loses at most."""

LOOK_S = 0.5
"""How long a cancellation from another process can go unnoticed."""

DRAIN_S = 5.0
"""How long examples may go on after the process was asked to stop; what has not ended is started anew elsewhere."""


@dataclass(slots=True)
class Holding:
    """A shard that is worked on here. `open` are the positions that are not stored yet."""

    token: UUID | None
    open: set[int] = field(default_factory=set)


class Stream:
    """See the module. Everything belongs to the process's loop; `stop` may be called from there at any time."""

    def __init__(self, process: ExecutionProcess, evaluation_id: UUID) -> None:
        self.evaluation_id = evaluation_id
        self._process = process
        self._held: dict[UUID, Holding] = {}
        self._waiting: deque[Task] = deque()
        self._running: dict[asyncio.Task[None], Task] = {}
        self._done: list[Done] = []
        self._cut = Spending()
        self._taking: asyncio.Task[None] | None = None
        self._is_exhausted = False
        self._trouble: Exception | None = None
        self._stores = 0
        self._take_s = 0.05
        self._example_s = 0.0
        self._ending: Ending | None = None
        self._moved = asyncio.Event()

    async def work(self) -> None:
        """Work until nothing of the evaluation is left for this process. What is in the way ends the evaluation."""
        try:
            if not await self._prepare():
                await self._run(partial(finish_if_done, self.evaluation_id))
                return
        except DomainError as error:
            await self._run(partial(shards.give_up, self.evaluation_id, error))
        else:
            keeper = asyncio.create_task(self._keep(), name=f"keeper-{self.evaluation_id}")
            try:
                await self._go_on()
            except Exception:
                logger.exception("Evaluation %s met what nobody foresaw", self.evaluation_id)
                await self._run(partial(shards.give_up, self.evaluation_id, internal_error()))
                self.stop(Ending.WIND_DOWN)
            finally:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
                await self._leave()
        await self._run(partial(finish_if_done, self.evaluation_id))

    def stop(self, ending: Ending = Ending.HAND_BACK) -> None:
        """Start nothing more; what runs may end within `DRAIN_S`, unless it is cancelled or lost."""
        if self._ending in (None, Ending.WIND_DOWN):
            self._ending = ending
        self._waiting.clear()
        self._moved.set()
        if ending in (Ending.CANCEL, Ending.LOST):
            self._cut_off()
        elif ending is Ending.HAND_BACK:
            self._process.loop.call_later(DRAIN_S, self._cut_off)

    # Before the first example

    async def _prepare(self) -> bool:
        found = await self._run(partial(ready, self.evaluation_id))
        if found is None:
            return False
        evaluation, self._subject, self._plan = found
        self._evaluation = evaluation
        self._concurrency = evaluation.concurrency
        budget = Budget.from_json(evaluation.budget)
        self._allowance = Allowance(budget, shards.total_of(evaluation), least_of_one(evaluation))
        self._has_limits = bool(evaluation.budget)
        self._saved_at = time.monotonic()
        return True

    # The loop

    async def _go_on(self) -> None:
        while not self._is_over():
            if self._trouble is not None:
                raise self._trouble
            self._moved.clear()
            self._start_examples()
            if self._wants_shard():
                self._taking = asyncio.create_task(self._take())
            if self._is_time_to_store():
                await self._store()
                continue
            try:
                async with asyncio.timeout(self._until_store()):
                    await self._moved.wait()
            except TimeoutError:
                continue

    def _is_over(self) -> bool:
        if self._running or self._taking is not None:
            return False
        if self._ending is not None:
            return True
        return self._is_exhausted and not self._waiting and not self._held

    def _is_running_out(self) -> bool:
        """Nothing more is to be started: what ends now is stored at once, so that the end has little left to store."""
        return not self._waiting and (self._is_exhausted or not self._running)

    def _is_time_to_store(self) -> bool:
        if not self._done:
            return any(not holding.open for holding in self._held.values())
        return len(self._done) >= STORE_ITEMS or self._is_running_out() or self._until_store() <= 0

    def _until_store(self) -> float:
        return max(self._saved_at + STORE_S - time.monotonic(), 0.0) if self._done else LOOK_S

    def _wants_shard(self) -> bool:
        if self._is_exhausted or self._taking is not None or self._ending is not None:
            return False
        return len(self._waiting) <= self._enough_for_a_take()

    def _enough_for_a_take(self) -> int:
        """How many examples are started while a shard is taken, twice over; more would only be kept from others."""
        if not self._example_s:
            return self._concurrency // 2
        return min(math.ceil(2 * self._take_s * self._concurrency / self._example_s), 2 * self._concurrency)

    async def _take(self) -> None:
        began = time.monotonic()
        try:
            taken = await self._run(partial(shards.take, self._evaluation))
        except AWAY:
            logger.warning("The database does not answer; no shard of evaluation %s is taken", self.evaluation_id)
            await asyncio.sleep(1)
        except Exception as error:
            self._trouble = error
        else:
            self._take_s = (self._take_s + time.monotonic() - began) / 2
            if taken is None:
                self._is_exhausted = True
            else:
                self._held[taken.shard.pk] = Holding(taken.shard.lease_token, {task.position for task in taken.tasks})
                if self._ending is None:
                    self._waiting.extend(taken.tasks)
        finally:
            self._taking = None
            self._start_examples()
            self._moved.set()

    # Examples

    def _start_examples(self) -> None:
        while self._waiting and len(self._running) < self._concurrency and self._ending is None:
            if self._has_limits:
                verdict = self._allowance.verdict()
                if verdict is Verdict.SPENT:
                    self.stop(Ending.WIND_DOWN)
                if verdict is not Verdict.START:
                    return
            task = self._waiting.popleft()
            running = asyncio.create_task(self._score(task))
            self._running[running] = task
            running.add_done_callback(self._ended)
        if self._wants_shard():
            self._moved.set()

    def _ended(self, running: asyncio.Task[None]) -> None:
        del self._running[running]
        if not running.cancelled() and isinstance(error := running.exception(), Exception):
            self._trouble = error
            self._moved.set()
        self._start_examples()
        if self._is_running_out() or len(self._done) >= STORE_ITEMS:
            self._moved.set()

    async def _score(self, task: Task) -> None:
        hold = await self._hold_for(task)
        if hold is None:
            return
        recorder, began = Recorder(), time.monotonic()
        self._allowance.begin(recorder)
        try:
            result = await evaluate_example(self._subject, task.data, recorder)
        except asyncio.CancelledError:
            self._cut += spent(recorder)
            self._allowance.end(recorder, spent(recorder), is_whole=False)
            return
        except Exception:
            logger.exception("Example %s of evaluation %s met what nobody foresaw", task.position, self.evaluation_id)
            result = replace(failed(internal_error()), spent=spent(recorder), cost=recorder.cost)
        finally:
            self._process.budgets.settle(hold, Spent(dict(recorder.known_costs), frozenset(recorder.unpriced)))
        took_s = time.monotonic() - began
        self._example_s = 0.9 * self._example_s + 0.1 * took_s if self._example_s else took_s
        self._allowance.end(recorder, result.spent, is_whole=True)
        self._done.append(Done(task, result, timezone.now()))

    async def _hold_for(self, task: Task) -> Hold | None:
        """What is reserved of budgets for an example, as soon as the database answers; None when it is not to begin."""
        charged = self._plan.charged(self._evaluation.user_id, encoded(task.data))
        while self._ending is None:
            try:
                return await self._process.budgets.reserve(charged)
            except Exhausted:
                self.stop(Ending.WIND_DOWN)
            except AWAY:
                logger.warning("The database does not answer; an example of evaluation %s waits", self.evaluation_id)
                await asyncio.sleep(LOOK_S)
        return None

    def _cut_off(self) -> None:
        for running in list(self._running):
            running.cancel()

    # Storing

    async def _store(self, ending: Ending | None = None) -> bool:
        """Whether what is done is stored; it is kept for the next time while the database is away."""
        self._stores += 1
        done, self._done = self._done, []
        cut, self._cut = self._cut, Spending()
        now = time.monotonic()
        worked_s, self._saved_at = now - self._saved_at, now
        batch = Batch(
            evaluation=self.evaluation_id,
            tokens={key: holding.token for key, holding in self._held.items()},
            done=done,
            cut=cut,
            whole=self._whole({one.task.position for one in done}),
            worked_s=worked_s,
            ending=ending,
            reason=self._allowance.spent_reason() or FinishReason.BUDGET,
        )
        try:
            standing = await self._run(partial(stored, batch))
        except AWAY:
            self._stores += 1
            logger.warning("The database does not answer; %d items wait to be stored", len(done))
            self._done, self._cut = [*done, *self._done], self._cut + cut
            self._saved_at -= worked_s
            await asyncio.sleep(LOOK_S)
            return False
        except Exception:
            self._cut += sum((one.result.spent for one in done), cut)  # it was used, whatever becomes of the items
            raise
        self._stores += 1
        self._allowance.saved(sum((one.result.spent for one in done), cut), standing.total)
        for one in done:
            if holding := self._held.get(one.task.shard):
                holding.open.discard(one.task.position)
        self._heed(standing, frozenset(batch.tokens))
        return True

    def _whole(self, stored: set[int]) -> frozenset[UUID]:
        return frozenset(key for key, holding in self._held.items() if holding.open <= stored)

    def _heed(self, standing: Standing, asked: frozenset[UUID]) -> None:
        """Let go of what is not held any more, and stop if that is what the evaluation says."""
        for key in asked - standing.held:
            self._held.pop(key, None)
        if asked - standing.held:
            self._waiting = deque(task for task in self._waiting if task.shard in self._held)
            for running, task in list(self._running.items()):
                if task.shard not in self._held:
                    running.cancel()
        if standing.ending is not None and standing.ending is not self._ending:
            self.stop(standing.ending)

    async def _keep(self) -> None:
        """Keep the leases and hear of cancellations, of other workers' ends and of lost leases."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_S)
            tokens = {key: holding.token for key, holding in self._held.items()}
            is_renewed = time.monotonic() - renewed > settings.SIGNET_LEASE_SECONDS / 3
            stores = self._stores
            try:
                standing = await self._run(partial(shards.look, self.evaluation_id, tokens, is_renewed=is_renewed))
            except AWAY:
                logger.warning("The database does not answer; leases of evaluation %s wait", self.evaluation_id)
                continue
            except Evaluation.DoesNotExist:
                self.stop(Ending.LOST)
                return
            renewed = time.monotonic() if is_renewed else renewed
            still = frozenset(key for key in tokens if key in self._held)
            self._heed(standing, still)
            if stores == self._stores and not stores % 2:  # nothing was being stored, which would count twice
                self._allowance.hear(standing.total)
            if self._has_limits and self._allowance.verdict() is Verdict.SPENT:
                self._start_examples()

    async def _leave(self) -> None:
        """Store the rest and give up the shards as the ending wants it."""
        self._cut_off()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        if self._taking is not None:
            await asyncio.gather(self._taking, return_exceptions=True)
        try:
            await self._store_rest()
        except Exception:
            logger.exception("What evaluation %s used at last is not counted", self.evaluation_id)
            self._cut = Spending()
            await self._store_rest()

    async def _store_rest(self) -> None:
        give_up = time.monotonic() + settings.SIGNET_LEASE_SECONDS
        while self._held or self._done or self._cut != Spending() or self._ending is Ending.WIND_DOWN:
            if await self._store(self._ending or Ending.HAND_BACK) or time.monotonic() > give_up:
                break

    async def _run(self, call: Callable[[], T]) -> T:
        return await self._process.database.run(call)
