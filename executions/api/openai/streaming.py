"""Chat completions that leave piece by piece, while the program runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from django.core.exceptions import RequestAborted
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from executions.api.openai.answers import Chunks, headers_of, is_answered, whole_reply
from executions.api.openai.turns import Turn, named_as_sent
from executions.selectors import access_execution
from executions.services.execute import Answer
from executions.services.process import ExecutionProcess
from executions.services.streaming import Streaming, begin
from executions.types import Piece
from mlops.api.openai_errors import openai_error
from mlops.api.problems import problem_of
from mlops.api.streams import RECHECK_S, StandingRight, actor_by_now, streamed

logger = logging.getLogger(__name__)


async def streamed_reply(request: HttpRequest, here: ExecutionProcess, turn: Turn) -> HttpResponseBase:
    """The answer in chunks. Nothing is sent before there is some text of it, so that whatever goes wrong until then has
    its own status. A reader who leaves cancels the execution."""
    with named_as_sent(turn.meaning):
        streaming = await here.awaited(begin(turn.actor, turn.request))
    right = StandingRight(request, lambda actor: access_execution(actor=actor, execution_id=streaming.execution_id))
    stream = ChatStream(here, streaming, turn, right)
    try:
        first = await stream.begin()
        if time.perf_counter() - turn.began > RECHECK_S:
            await actor_by_now(request)
    except BaseException:
        stream.close()
        raise
    if isinstance(first, Answer) and not is_answered(first.execution):
        return whole_reply(turn, first)
    response = streamed(stream, "text/event-stream")
    for name, value in headers_of(turn, first, streaming.execution_id).items():
        response.headers[name] = value
    return response


class ChatStream:
    """The chunks of one answer. `close` is called at last, also where nobody has begun to read."""

    def __init__(self, here: ExecutionProcess, streaming: Streaming, turn: Turn, right: StandingRight) -> None:
        self._here = here
        self._streaming = streaming
        self._turn = turn
        self._right = right
        self._coming: Answer | str = ""

    async def begin(self) -> Answer | str:
        """Wait for the first text of the answer, or for the end of an execution that tells none."""
        self._coming = await self._text_or_end()
        return self._coming

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks()

    def close(self) -> None:
        """Nobody reads on."""
        self._here.loop.call_soon_threadsafe(self._streaming.leave)

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        item = self._coming
        program = item.execution.program if isinstance(item, Answer) else self._turn.program
        chunks = Chunks(str(self._streaming.execution_id), program, has_usage=self._turn.has_usage)
        told = ""
        try:
            yield chunks.opening()
            while isinstance(item, str):
                text = item if told else self._turn.meaning.form.opening + item
                told += text
                yield chunks.text(text)
                item = await self._while_allowed()
            for chunk in self._last(chunks, item, told):
                yield chunk
        except RequestAborted:
            raise
        except Exception as error:
            status, problem, _headers = problem_of(error)
            if status == 500:
                logger.exception("unexpected error")
            yield chunks.error(openai_error(problem))
        finally:
            self.close()

    async def _while_allowed(self) -> Answer | str:
        """What comes next, if it may be read when it is there. Then the connection is cut: half an answer must not look
        like a whole one."""
        following = asyncio.ensure_future(self._text_or_end())
        try:
            while True:
                done, _waiting = await asyncio.wait({following}, timeout=self._right.due_in_s)
                if not await self._right.holds():
                    raise RequestAborted
                if done:
                    return following.result()
        finally:
            following.cancel()

    async def _text_or_end(self) -> Answer | str:
        """The next text of the answer, or the execution when it has ended."""
        while True:
            item = await self._here.awaited(self._streaming.next())
            assert item is not None  # nobody asks after the answer
            if isinstance(item, Answer):
                return item
            if isinstance(item, Piece) and (item.module, item.field) == self._turn.meaning.form.streamed:
                return item.text

    def _last(self, chunks: Chunks, answered: Answer, told: str) -> Iterator[bytes]:
        """What is still to be said once the execution has ended."""
        execution = answered.execution
        if not is_answered(execution):
            yield chunks.failed(execution)
            return
        content = self._turn.meaning.form.content_of(execution.output or {})
        if content.startswith(told) and content != told:
            yield chunks.text(content[len(told) :])
        yield from chunks.closing(execution)
