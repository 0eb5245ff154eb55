"""Chat completions that leave piece by piece, while the program runs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from executions.api.openai.answers import Chunks, headers_of, is_answered, whole_reply
from executions.api.openai.turns import Turn, named_as_sent
from executions.errors import reader_cut_off
from executions.selectors import access_execution
from executions.services.execute import Answer
from executions.services.streaming import Streaming, begin
from executions.types import Piece
from mlops.api.openai_errors import openai_error
from mlops.api.problems import problem_told
from mlops.api.streams import RECHECK_S, StandingRight, actor_by_now, streamed, while_readable


async def streamed_reply(request: HttpRequest, turn: Turn) -> HttpResponseBase:
    """The answer in chunks. Nothing is sent before there is some text of it, so that whatever goes wrong until then has
    its own status. A reader who leaves cancels the execution."""
    with named_as_sent(turn.meaning):
        streaming = await begin(turn.actor, turn.request)
    right = StandingRight(request, lambda actor: access_execution(actor=actor, execution_id=streaming.execution_id))
    stream = ChatStream(streaming, turn, right)
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

    def __init__(self, streaming: Streaming, turn: Turn, right: StandingRight) -> None:
        self._streaming = streaming
        self._turn = turn
        self._right = right
        self._first: Answer | str = ""
        self.close = streaming.leave

    async def begin(self) -> Answer | str:
        """Wait for the first text of the answer, or for the end of an execution that tells none."""
        self._first = await self._text_or_end()
        return self._first

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks of an answer, and an error where it does not come to its end or may not be read to it."""
        program = self._first.execution.program if isinstance(self._first, Answer) else self._turn.program
        chunks = Chunks(str(self._streaming.execution_id), program, has_usage=self._turn.has_usage)
        try:
            yield chunks.opening()
            async with aclosing(self._coming()) as coming, aclosing(self._written(chunks, coming)) as written:
                async for chunk in written:
                    yield chunk
        except Exception as error:
            yield chunks.error(openai_error(problem_told(error)[1]))
        finally:
            self.close()

    async def _written(self, chunks: Chunks, coming: AsyncIterable[Answer | str]) -> AsyncGenerator[bytes, None]:
        told = ""
        async for item in coming:
            if isinstance(item, Answer):
                for chunk in self._last(chunks, item, told):
                    yield chunk
                return
            text = item if told else self._turn.meaning.form.opening + item
            told += text
            yield chunks.text(text)
        raise reader_cut_off()  # half an answer must not look like a whole one

    async def _coming(self) -> AsyncGenerator[Answer | str, None]:
        """All texts and the end, as long as they may be read."""
        yield self._first
        items: AsyncGenerator[Answer | str | None, None] = while_readable(self._right, self._text_or_end)
        async with aclosing(items):
            async for item in items:
                if item is not None:
                    yield item

    async def _text_or_end(self) -> Answer | str:
        """The next text of the answer, or the execution when it has ended."""
        while True:
            item = await self._streaming.next()
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
