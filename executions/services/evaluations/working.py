"""Which evaluations a process works on: what the doorbell, the sweeper and optimizations call."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from uuid import UUID

from executions.models import Evaluation, EvaluationShard
from executions.services import process
from executions.services.evaluations.ending import finish_if_done
from executions.services.evaluations.starting import QUEUE, TASK
from executions.services.evaluations.streams import Stream
from executions.services.process import ExecutionProcess
from mlops.services import jobs
from mlops.types import JobState

logger = logging.getLogger(__name__)

MAX_STREAMS = 4
"""Evaluations that a worker works on at once: a long one must not keep a short one waiting for hours."""

REPORT_S = 0.25


class Streams:
    """The evaluations that this process works on; lives on its loop."""

    def __init__(self, here: ExecutionProcess) -> None:
        self.process = here
        self._streams: dict[UUID, tuple[Stream, asyncio.Task[None]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._is_rung = False
        self._is_stopping = False
        here.before_stop(self.leave)

    def wake(self) -> None:
        """The doorbell: shards may be pending."""
        self._is_rung = True
        if self._looking is None and not self._is_stopping:
            self._looking = asyncio.create_task(self._look())

    async def work_on(self, evaluation_id: UUID) -> None:
        """Work on one evaluation until nothing of it is left for this process."""
        if not self._is_stopping:
            await asyncio.shield(self._begin(evaluation_id))

    def stop(self, evaluation_id: UUID) -> None:
        """Hand back what this process has of an evaluation."""
        if found := self._streams.get(evaluation_id):
            found[0].stop()

    async def leave(self) -> None:
        """The process ends."""
        self._is_stopping = True
        streams = list(self._streams.values())
        for stream, _task in streams:
            stream.stop()
        tasks = [task for _stream, task in streams] + ([self._looking] if self._looking else [])
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, evaluation_id: UUID) -> asyncio.Task[None]:
        if found := self._streams.get(evaluation_id):
            return found[1]
        stream = Stream(self.process, evaluation_id)
        task = asyncio.create_task(self._work(stream), name=f"evaluation-{evaluation_id}")
        self._streams[evaluation_id] = (stream, task)
        return task

    async def _work(self, stream: Stream) -> None:
        try:
            await stream.work()
        except Exception:
            logger.exception("Work on evaluation %s met what nobody foresaw", stream.evaluation_id)
        else:
            self.wake()
        finally:
            del self._streams[stream.evaluation_id]

    async def _look(self) -> None:
        try:
            while self._is_rung and not self._is_stopping:
                self._is_rung = False
                room = MAX_STREAMS - len(self._streams)
                busy = set(self._streams)
                for key in await self.process.database.run(lambda: _waiting(busy, max(room, 0))):  # noqa: B023  # awaited here
                    self._begin(key)
        finally:
            self._looking = None


_here: Streams | None = None
_lock = threading.Lock()


def wake() -> None:
    """Have this process look for pending shards."""
    streams = _streams_of(process.ensure_started())
    streams.process.loop.call_soon_threadsafe(streams.wake)


def sweep_evaluations() -> None:
    """Hand back the shards of workers that have disappeared, end what only waits for its end, ring for the rest."""
    pending = jobs.sweep(EvaluationShard)
    ended = Evaluation.objects.filter(state__in=_UNENDED).exclude(shards__state__in=_UNENDED)
    for key in list(ended.values_list("pk", flat=True)):
        finish_if_done(key)
    if pending:
        jobs.ring(TASK, QUEUE)


def run_evaluation_here(
    evaluation: Evaluation,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[Evaluation], None] = lambda evaluation: None,
) -> Evaluation:
    """Work on `evaluation` in this process until it has ended, and return it. Not to be called from an event loop.

    Other workers may help. `should_stop` and `on_progress` are called several times a second, in the caller's thread;
    when work has to stop the shards are handed back, and the evaluation is returned as it is: a later call, here or in
    another process, goes on with it.
    """
    here = process.ensure_started()
    while True:
        working = here.submit(_work_on(here, evaluation.pk))
        is_stopped = _watch(here, working, evaluation, should_stop, on_progress)
        row: Evaluation = Evaluation.objects.get(pk=evaluation.pk)
        if row.is_terminal or is_stopped:
            return row
        time.sleep(REPORT_S)  # what is left is with other workers
        jobs.sweep(EvaluationShard)
        finish_if_done(evaluation.pk)


def _watch(
    here: ExecutionProcess,
    working: Future[None],
    evaluation: Evaluation,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Evaluation], None],
) -> bool:
    """Tell how it gets on until the work here has ended; whether it was asked to stop."""
    is_stopped = False
    while True:
        is_stopped = is_stopped or should_stop()
        if is_stopped:
            here.loop.call_soon_threadsafe(_streams_of(here).stop, evaluation.pk)
        try:
            working.result(REPORT_S)
        except TimeoutError:
            on_progress(Evaluation.objects.get(pk=evaluation.pk))
            continue
        on_progress(Evaluation.objects.get(pk=evaluation.pk))
        return is_stopped


_UNENDED = [JobState.PENDING, JobState.RUNNING]


async def _work_on(here: ExecutionProcess, evaluation_id: UUID) -> None:
    await _streams_of(here).work_on(evaluation_id)


def _streams_of(here: ExecutionProcess) -> Streams:
    global _here  # noqa: PLW0603  # one per process by design
    with _lock:
        if _here is None or _here.process is not here:
            _here = Streams(here)
        return _here


def _waiting(busy: set[UUID], room: int) -> list[UUID]:
    """Evaluations with pending shards that nobody works on here, oldest first."""
    pending = EvaluationShard.objects.filter(state=JobState.PENDING).exclude(evaluation__in=busy)
    return list(pending.order_by("evaluation_id").values_list("evaluation_id", flat=True).distinct()[:room])
