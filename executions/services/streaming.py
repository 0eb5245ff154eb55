"""Executions that are read while they run.

Whoever reads one gets its modules' beginnings and ends and the texts of their outputs as they come, and at last the
execution as it is stored. A reader who leaves cancels it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeAlias, Unpack
from uuid import UUID

from django.utils.translation import gettext as _

from executions.errors import invalid_option
from executions.models import Execution
from executions.services import process
from executions.services.execute import (
    Answer,
    Options,
    Repeated,
    Request,
    admit,
    answer_again,
    answer_of,
    request_for,
)
from executions.services.process import ExecutionProcess
from executions.services.running import Running
from executions.types import Mode, Piece, Step
from mlops.models import User
from mlops.verbs import verb
from programs.models import Program
from programs.policies import program_policy

Item: TypeAlias = Piece | Step | Answer


@verb(program_policy, "execute")
def stream_execution(
    *, actor: User, program: str | Program, input: Mapping[str, Any], **options: Unpack[Options]
) -> AsyncGenerator[Item, None]:
    """Run a program for `actor` and give what comes of it, as it comes, on whatever event loop the caller is.

    The last item is an `Answer` with the execution, whatever became of it. Raises as `execute_program` does, before the
    first item. Closing the generator (`contextlib.aclosing`) cancels the execution.
    """
    return stream(actor, request_for(program, input, options))


async def stream(actor: User, request: Request) -> AsyncGenerator[Item, None]:
    """As `stream_execution`, of a request that an edge has made."""
    streaming = await begin(actor, request)
    try:
        while (item := await streaming.next()) is not None:
            yield item
    finally:
        streaming.leave()


async def begin(actor: User, request: Request) -> Streaming:
    """Admit an execution that is read while it runs, on whatever event loop. Raises `DomainError`.

    Whoever gets it calls `leave` at last, also after its end; who is cancelled before has left.
    """
    if request.mode is not Mode.SYNC:
        raise invalid_option("mode", _("What is read while it runs is not left to a worker: expected sync."))
    here = await process.aensure_started()
    streaming = Streaming(here, request)
    try:
        await here.awaited(streaming.admit(actor))
    except BaseException:
        streaming.leave()  # on another loop it may have been admitted meanwhile
        raise
    return streaming


class Streaming:
    """An execution that somebody reads, from whatever event loop. `admit` gives it its id."""

    execution_id: UUID
    is_repeated: bool

    def __init__(self, here: ExecutionProcess, request: Request) -> None:
        self._here = here
        self._request = request
        self._coming = _Coming()
        self._running: Running | None = None
        self._answer: asyncio.Task[Answer] | None = None
        self._is_answered = False

    async def admit(self, actor: User) -> None:
        """Runs on the process's event loop, once."""
        admitted = await admit(actor, self._request, self._coming)
        assert not isinstance(admitted, Execution)  # only what is left to a worker
        self.is_repeated = isinstance(admitted, Repeated)
        if isinstance(admitted, Repeated):
            self.execution_id = admitted.execution_id
            self._answer = asyncio.create_task(answer_again(admitted, self._request))
        else:
            self.execution_id, self._running = admitted.execution.pk, admitted
            self._answer = asyncio.create_task(_ended(admitted))
        self._answer.add_done_callback(self._over)

    async def next(self) -> Item | None:
        """What comes next, waited for; None after the answer. Raises what kept the end from being stored."""
        return await self._here.awaited(self._next())

    def leave(self) -> None:
        """Read no more. What still runs is cancelled: the answer is nobody's any more."""
        self._here.loop.call_soon_threadsafe(self._leave)

    async def _next(self) -> Item | None:
        assert self._answer is not None  # it was admitted
        while True:
            if (item := self._coming.take()) is not None:
                return item
            if self._answer.done():
                return self._answered(self._answer)
            await self._coming.more()

    def _leave(self) -> None:
        if self._running is not None and not self._running.ended.done():
            self._here.abandon(self._running)
        elif self._running is None and self._answer is not None:
            self._answer.cancel()

    def _answered(self, answer: asyncio.Task[Answer]) -> Answer | None:
        if self._is_answered:
            return None
        self._is_answered = True
        return answer.result()

    def _over(self, answer: asyncio.Task[Answer]) -> None:
        if not answer.cancelled():
            answer.exception()  # seen, also where the reader has left
        self._coming.wake()


async def _ended(running: Running) -> Answer:
    await asyncio.wait({running.ended})
    return answer_of(running)


class _Coming:
    """What has come and was not taken yet: never more than one piece per field, however slow the reader is."""

    def __init__(self) -> None:
        self._order: deque[Step | tuple[str, str]] = deque()
        self._texts: dict[tuple[str, str], list[str]] = {}
        self._more = asyncio.Event()

    def started(self, module: str) -> None:
        self._put(Step(module, "started"))

    def told(self, module: str, field: str, text: str) -> None:
        key = (module, field)
        if key in self._texts:
            self._texts[key].append(text)
        else:
            self._texts[key] = [text]
            self._put(key)

    def completed(self, module: str) -> None:
        self._put(Step(module, "completed"))

    def take(self) -> Step | Piece | None:
        """The oldest of it, if there is any."""
        if not self._order:
            return None
        first = self._order.popleft()
        if isinstance(first, Step):
            return first
        module, field = first
        return Piece(module, field, "".join(self._texts.pop(first)))

    async def more(self) -> None:
        """Wait until something may have come."""
        self._more.clear()
        await self._more.wait()

    def wake(self) -> None:
        self._more.set()

    def _put(self, item: Step | tuple[str, str]) -> None:
        self._order.append(item)
        self.wake()
