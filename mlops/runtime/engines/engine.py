"""The engine pair behind every language model: retries, fallbacks, deadline, metering.

There is one way to call, asynchronously. The synchronous engine hands its calls to an event loop in a thread of the
process, so that a limit on a whole attempt holds there too: a blocking read cannot be given one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from dspy.clients.engines.stream_guard import achecked_stream
from dspy.lm15 import Request, Response, StreamAssemblyError, Usage, materialize_response, response_to_events

from mlops.runtime.engines.accounts import prompt_of
from mlops.runtime.engines.bridge import bridge
from mlops.runtime.engines.capabilities import Capabilities
from mlops.runtime.engines.failures import call_failure, raised
from mlops.runtime.engines.links import Client, Link
from mlops.runtime.engines.patience import Patience
from mlops.runtime.engines.providers import is_matcher, matcher
from mlops.runtime.engines.recording import CallRecord, begun
from mlops.runtime.recorder import span
from mlops.types import SpanKind

Result = TypeVar("Result")


class AsyncMeteredEngine:
    """The asynchronous engine of a chain of models: the first is asked, the others stand in for it."""

    def __init__(self, chain: Sequence[Link]) -> None:
        self.chain = tuple(chain)
        self.name = self.chain[0].spec.name
        self._specs = [link.spec for link in chain]
        self._is_matcher = is_matcher(self._specs[0])

    async def complete(self, request: Request) -> Response:
        """One answer, recorded as an llm span. Raises lm15 errors that `failure_of` explains."""

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

    async def stream(self, request: Request) -> AsyncGenerator[Any, None]:
        """The answer event by event; retries and fallbacks only before the first one. Raises as `complete` does."""

        async def attempt(link: Link, patience: Patience) -> _Reading:
            client = link.client()
            await client.enter(patience.left_s)
            reading = _Reading(client, self._routed(link, client, request), patience.attempt_s)
            try:
                await reading.next()
            except BaseException:
                await reading.close()
                raise
            return reading

        record = begun(self.name, request)
        try:
            link, reading = await self._persist(request, record, attempt)
            try:
                while reading.event is not None:
                    if reading.event.type == "end":  # before it is passed on: a reader may stop here
                        _account(record, link, request, reading.events)
                    yield reading.event
                    await self._read_on(reading, link, request, record)
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
            _bill_part(record, link, error)
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
    """A stream under way: the event that came last, all of them so far, and the time left for the others."""

    def __init__(self, client: Client, request: Request, limit_s: float) -> None:
        self.limit_s = limit_s
        self.events: list[Any] = []
        self.event: Any = None
        self._client = client
        self._stream = achecked_stream(client.line.speaker.stream(request))  # errors come as events otherwise
        self._ends = time.monotonic() + limit_s

    async def next(self) -> None:
        """Read one more event; None after the last."""
        async with asyncio.timeout(max(self._ends - time.monotonic(), 0.0)):
            self.event = await anext(self._stream, None)
        if self.event is not None:
            self.events.append(self.event)

    async def close(self) -> None:
        """Give back the connection and the slot."""
        try:
            await self._stream.aclose()
        finally:
            await self._client.leave()


def _account(record: CallRecord, link: Link, request: Request, events: list[Any]) -> None:
    """Note the answer that these events make up. Raises an lm15 error when they make none."""
    try:
        response = materialize_response(iter(events), request)
    except StreamAssemblyError as error:
        failure = call_failure(error, link.spec)
        _bill_part(record, link, error)
    else:
        record.answered(link, response)
        return
    record.failed(failure)
    raise raised(failure)


def _bill_part(record: CallRecord, link: Link, error: BaseException) -> None:
    """An answer that broke off may tell what it has used already."""
    partial = getattr(error, "partial", None)
    if isinstance(partial, Response) and partial.usage != Usage():
        record.billed(link, partial)
