"""The engine pair behind every language model: retries, fallbacks, deadline, metering.

There is one way to call, asynchronously. The synchronous engine hands its calls to an event loop in a thread of the
process, so that a limit on a whole attempt holds there too: a blocking read cannot be given one.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from dspy.clients.engines.stream_guard import achecked_stream
from dspy.lm15 import (
    Message,
    Request,
    Response,
    StreamAssemblyError,
    StreamDeltaEvent,
    TextDelta,
    TextPart,
    Usage,
    materialize_response,
    response_to_events,
)

from mlops.runtime.engines.accounts import prompt_of
from mlops.runtime.engines.bridge import bridge
from mlops.runtime.engines.capabilities import Capabilities
from mlops.runtime.engines.failures import call_failure, raised
from mlops.runtime.engines.links import Client, Link
from mlops.runtime.engines.patience import Patience
from mlops.runtime.engines.providers import is_matcher, matcher
from mlops.runtime.engines.recording import CallRecord, begun
from mlops.runtime.listening import Hearing, hearing
from mlops.runtime.recorder import span
from mlops.types import SpanKind

TURN_S = 0.005
"""After so long a stream whose chunks are all there already lets others of the event loop have their turn."""

Result = TypeVar("Result")


class AsyncMeteredEngine:
    """The asynchronous engine of a chain of models: the first is asked, the others stand in for it."""

    def __init__(self, chain: Sequence[Link]) -> None:
        self.chain = tuple(chain)
        self.name = self.chain[0].spec.name
        self._specs = [link.spec for link in chain]
        self._secrets = frozenset(spec.api_key for spec in self._specs if spec.api_key)
        self._is_matcher = is_matcher(self._specs[0])

    async def complete(self, request: Request) -> Response:
        """One answer, recorded as an llm span; whoever listens hears it come. Raises lm15 errors that `failure_of`
        explains."""
        if (heard := hearing(self._secrets)) is not None:
            return await self._complete_aloud(request, heard)

        async def attempt(link: Link, patience: Patience) -> Response:
            client = link.client()
            await client.enter(patience.left_s)
            try:
                async with asyncio.timeout(patience.attempt_s):
                    return await client.line.speaker.complete(self._routed(link, client, request))
            finally:
                await client.leave()

        with span(SpanKind.LLM, self.name) as opened:
            record = CallRecord(opened, request)
            link, response = await self._persist(request, record, attempt)
            record.answered(link, response)
            return response

    async def _complete_aloud(self, request: Request, heard: Hearing) -> Response:
        events, began = [], time.perf_counter()
        async with aclosing(self.stream(request)) as coming:
            async for event in coming:
                events.append(event)
                if _has_text(event):
                    heard.hear(event.delta.text)
                if time.perf_counter() - began > TURN_S:
                    await asyncio.sleep(0)
                    began = time.perf_counter()
        heard.end()
        return materialize_response(iter(events), request)

    async def stream(self, request: Request) -> AsyncGenerator[Any, None]:
        """The answer event by event; retries and fallbacks only before something of it has come. What had come of one
        that breaks off, or whose reader leaves, is billed. Raises as `complete` does."""

        async def attempt(link: Link, patience: Patience) -> _Reading:
            client = link.client()
            await client.enter(patience.left_s)
            reading = _Reading(client, self._routed(link, client, request), patience.attempt_s)
            try:
                await reading.begin()
            except BaseException:
                await reading.close()
                raise
            return reading

        record = begun(self.name, request)
        try:
            link, reading = await self._persist(request, record, attempt)
            try:
                while reading.unread:
                    event = reading.unread.popleft()
                    if event.type == "end":  # before it is passed on: a reader may stop here
                        _account(record, link, request, reading)
                    yield event
                    if not reading.unread:
                        await self._read_on(reading, link, request, record)
            except BaseException:
                if not reading.is_accounted:
                    record.broke_off(link, reading.received(request))
                raise
            finally:
                await reading.close()
        except BaseException as error:
            record.closed(type(error).__name__)
            raise
        record.closed()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        for link in self.chain:
            await link.hang_up()

    def __deepcopy__(self, memo: dict[int, object]) -> AsyncMeteredEngine:
        return self  # DSPy copies engines along with modules; connections and limits stay one

    def _routed(self, link: Link, client: Client, request: Request) -> Request:
        return link.routed(request, client.line.model, self.chain[0])

    async def _persist(
        self, request: Request, record: CallRecord, attempt: Callable[[Link, Patience], Awaitable[Result]]
    ) -> tuple[Link, Result]:
        """The first result that a model of the chain gives, and that model."""
        patience = Patience(self._specs)
        while True:
            link, limit_s = self.chain[patience.position], patience.attempt_s
            began = time.perf_counter()
            try:
                result = await attempt(link, patience)
            except Exception as error:
                failure = call_failure(error, link.spec, prompt=prompt_of(request), limit_s=limit_s)
                _bill_part(record, link, error)
            else:
                record.ended(link, patience)
                return link, result
            finally:
                self._waited(record, began)
            record.failed(failure)
            wait_s = patience.wait_after(failure)
            if wait_s is None:
                record.ended(link, patience)
                raise raised(failure)
            await self._sleep(wait_s, record)

    async def _read_on(self, reading: _Reading, link: Link, request: Request, record: CallRecord) -> None:
        began = time.perf_counter()
        try:
            await reading.next()
            return
        except Exception as error:
            failure = call_failure(error, link.spec, prompt=prompt_of(request), limit_s=reading.limit_s)
            reading.is_accounted = reading.is_accounted or _bill_part(record, link, error)
        finally:
            self._waited(record, began)
        record.failed(failure)
        raise raised(failure)

    async def _sleep(self, wait_s: float, record: CallRecord) -> None:
        began = time.perf_counter()
        try:
            await asyncio.sleep(wait_s)
        finally:
            self._waited(record, began)

    def _waited(self, record: CallRecord, began: float) -> None:
        if not self._is_matcher:  # its time is our own
            record.waited(time.perf_counter() - began)


class MeteredEngine:
    """The synchronous engine of the same chain, and what adapters ask about it."""

    def __init__(self, engine: AsyncMeteredEngine) -> None:
        self.async_engine = engine
        self._link = engine.chain[0]
        self._is_matcher = is_matcher(self._link.spec)
        self._capabilities = Capabilities(self._link.spec)

    @property
    def supports_function_calling(self) -> bool:
        return self._capabilities.tools

    @property
    def supports_response_schema(self) -> bool:
        return self._capabilities.json_schema

    @property
    def supports_reasoning(self) -> bool:
        return self._capabilities.reasoning

    @property
    def supported_params(self) -> frozenset[str]:
        return self._capabilities.parameters

    def complete(self, request: Request) -> Response:
        """As `AsyncMeteredEngine.complete`. It blocks: never call it on an event loop that others use."""
        return self._matched(request) if self._is_matcher else bridge().run(self.async_engine.complete(request))

    def stream(self, request: Request) -> Iterator[Any]:
        """As `AsyncMeteredEngine.stream`."""
        if self._is_matcher:
            yield from response_to_events(self._matched(request))
        else:
            yield from bridge().iterate(self.async_engine.stream(request))

    def close(self) -> None:
        """Close the connections of synchronous calls."""
        if not self._is_matcher:
            bridge().run(self.async_engine.aclose())

    def __deepcopy__(self, memo: dict[int, object]) -> MeteredEngine:
        return self

    def _matched(self, request: Request) -> Response:
        """The example matcher answers in this thread."""
        failure = None
        with span(SpanKind.LLM, self.async_engine.name) as opened:
            record = CallRecord(opened, request)
            try:
                response = matcher().complete(request)
            except Exception as error:
                failure = call_failure(error, self._link.spec)
            record.ended(self._link, Patience([self._link.spec]))
            if failure is not None:
                record.failed(failure)
                raise raised(failure)
            record.answered(self._link, response)
            return response


class _Reading:
    """A stream under way: the events that nobody has taken yet, all of them so far, the time left for the others."""

    def __init__(self, client: Client, request: Request, limit_s: float) -> None:
        self.limit_s = limit_s
        self.unread: deque[Any] = deque()
        self.is_accounted = False
        """Whether the end of the answer was seen, and with it what it used."""
        self._events: list[Any] = []
        self._client = client
        self._stream = achecked_stream(client.line.speaker.stream(request))  # errors come as events otherwise
        self._ends = time.monotonic() + limit_s

    async def begin(self) -> None:
        """Read until something of the answer is there: until then another attempt can be made."""
        await self.next()
        while self._events[-1].type == "start" or (_has_text(last := self._events[-1]) and not last.delta.text):
            await self.next()

    async def next(self) -> None:
        """Read one more event, if there is one."""
        async with asyncio.timeout(max(self._ends - time.monotonic(), 0.0)):
            event = await anext(self._stream, None)
        if event is not None:
            self._events.append(event)
            self.unread.append(event)

    def response(self, request: Request) -> Response:
        """The answer that all events make up. Raises `StreamAssemblyError` when they make none."""
        return materialize_response(iter(self._events), request)

    def received(self, request: Request) -> Response:
        """As much of an answer as there is."""
        try:
            return self.response(request)
        except StreamAssemblyError as error:
            return error.partial or _empty(request)

    async def close(self) -> None:
        """Give back the connection and the slot."""
        try:
            await self._stream.aclose()
        finally:
            await self._client.leave()


def _empty(request: Request) -> Response:
    """An answer of which nothing can be read."""
    return Response(id=None, model=request.model, message=Message.assistant([TextPart("")]), finish_reason="stop")


def _has_text(event: Any) -> bool:
    return isinstance(event, StreamDeltaEvent) and isinstance(event.delta, TextDelta)


def _account(record: CallRecord, link: Link, request: Request, reading: _Reading) -> None:
    """Note the answer of a stream that has ended. Raises an lm15 error when it makes none."""
    reading.is_accounted = True
    try:
        response = reading.response(request)
    except StreamAssemblyError as error:
        failure = call_failure(error, link.spec)
        _bill_part(record, link, error)
    else:
        record.answered(link, response)
        return
    record.failed(failure)
    raise raised(failure)


def _bill_part(record: CallRecord, link: Link, error: BaseException) -> bool:
    """An answer that broke off may tell what it has used already; whether it did."""
    partial = getattr(error, "partial", None)
    if not isinstance(partial, Response) or partial.usage == Usage():
        return False
    record.billed(link, partial)
    return True
