"""Engines under guard: a model is asked only while the compile may go on, and never again for what was answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dspy
from dspy.lm15 import Request, Response, response_to_events

from mlops.runtime.engines import failure_of
from mlops.runtime.engines.failures import raised
from mlops.runtime.recorder import Recorder, recording
from optimizations.runtime.guard import Guard
from optimizations.runtime.memo import (
    Memo,
    failure_from,
    hash_of_request,
    response_of,
    spent_from,
    spent_of,
    storable,
    stored_failure,
    stored_response,
    stored_spent,
)


def guarded(lm: dspy.LM, identity: str, guard: Guard, memo: Memo) -> dspy.LM:
    """`lm` with the same parameters behind guarded engines. `identity` tells models apart in the memo."""
    calls = _Calls(identity, guard, memo)
    return lm.copy(
        engine=GuardedEngine(lm.engine, calls),
        async_engine=AsyncGuardedEngine(lm._async_engine_spec, calls),  # DSPy has no public way to ask
    )


class GuardedEngine:
    """The synchronous engine, which is the one that optimizers use. Shared by all copies of the model."""

    def __init__(self, inner: Any, calls: _Calls) -> None:
        self._inner, self._calls = inner, calls

    @property
    def supports_function_calling(self) -> bool:
        return bool(self._inner.supports_function_calling)

    @property
    def supports_response_schema(self) -> bool:
        return bool(self._inner.supports_response_schema)

    @property
    def supports_reasoning(self) -> bool:
        return bool(self._inner.supports_reasoning)

    @property
    def supported_params(self) -> frozenset[str]:
        return frozenset(self._inner.supported_params)

    def complete(self, request: Request) -> Response:
        """One answer, remembered or new. Raises lm15 errors, and `CompileStopped` instead of asking."""
        with self._calls.call(request) as call:
            if call.stored is None:
                with call.paying():
                    call.answered(self._inner.complete(request))
        return call.result()

    def stream(self, request: Request) -> Iterator[Any]:
        """The answer as events, all at once: nobody reads along in a compile."""
        yield from response_to_events(self.complete(request))

    def close(self) -> None:
        """The connections are the inner engine's."""

    def __deepcopy__(self, memo: dict[int, object]) -> GuardedEngine:
        return self


class AsyncGuardedEngine:
    """The same for modules of one's own that call models on an event loop."""

    def __init__(self, inner: Any, calls: _Calls) -> None:
        self._inner, self._calls = inner, calls

    async def complete(self, request: Request) -> Response:
        """As `GuardedEngine.complete`."""
        with self._calls.call(request) as call:
            if call.stored is None:
                with call.paying():
                    call.answered(await self._inner.complete(request))
        return call.result()

    async def aclose(self) -> None:
        """The connections are the inner engine's."""

    def __deepcopy__(self, memo: dict[int, object]) -> AsyncGuardedEngine:
        return self


class _Calls:
    """The calls of one model."""

    def __init__(self, identity: str, guard: Guard, memo: Memo) -> None:
        self._identity, self._guard, self._memo = identity, guard, memo

    @contextmanager
    def call(self, request: Request) -> Iterator[_Call]:
        """One call, counted; after the block it has an answer or a failure."""
        with self._guard.call():
            name = self._memo.next_of(hash_of_request(self._identity, request))
            call = _Call(self._memo.get(name))
            is_new = call.stored is None
            yield call
            assert call.stored is not None
            self._guard.add(spent_from(call.stored), is_new=is_new)
            if is_new:
                self._memo.put(name, call.stored)
            if failure := call.stored.get("failure"):
                self._guard.went_wrong(failure["code"], failure["message"])
            else:
                self._guard.went_well()


class _Call:
    """One call and what it brought: JSON with `response` or `failure`, and what was spent.

    A failure is remembered like an answer, so that a resumed job fails at the same places and goes the same way. The
    answer is always read from its stored form, so that it is the same one for those who come later.
    """

    def __init__(self, stored: Mapping[str, Any] | None) -> None:
        self.stored = stored
        self._response: Response | None = None

    @contextmanager
    def paying(self) -> Iterator[None]:
        """Ask within this block. The recorder is one of its own: context variables do not reach DSPy's threads."""
        recorder = Recorder()
        told: dict[str, Any]
        try:
            with recording(recorder):
                yield
            assert self._response is not None
            told = {"response": stored_response(self._response)}
        except Exception as error:
            told = {"failure": stored_failure(failure_of(error))}
        self.stored = storable({**told, **stored_spent(spent_of(recorder, calls=1))}, recorder)

    def answered(self, response: Response) -> None:
        self._response = response

    def result(self) -> Response:
        """The answer. Raises the lm15 error of a failure."""
        assert self.stored is not None
        if failure := self.stored.get("failure"):
            raise raised(failure_from(failure))
        return response_of(self.stored["response"])
