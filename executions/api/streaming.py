"""POST execute for whoever accepts `text/event-stream`: what comes of the execution leaves as it comes.

Events: `step` (a module begins or has ended), `piece` (some text of an output field) and at last `result` with the
execution, whatever became of it. Refusals come before the first event, as for any other request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import replace

from executions.api.execute import read_request
from executions.representation import in_detail
from executions.selectors import access_execution
from executions.services import process
from executions.services.execute import MAX_WAIT_S, Answer
from executions.services.process import ExecutionProcess
from executions.services.streaming import Item, Streaming, begin
from executions.types import Piece, Step
from mlops.api.problems import problem_of
from mlops.api.streams import LastingRight
from mlops.encoding import encoded
from mlops.models import User

EVENTS = "text/event-stream"
STILL_HERE = b": still here\n\n"

_QUALITY = re.compile(r"\bq=([01](?:\.\d{1,3})?)\s*(?:;|$)")

RightOf = Callable[[Callable[[User], object]], LastingRight]
"""Makes the right to read on of a way to look the execution up for a reader."""

logger = logging.getLogger(__name__)


def wants_events(accept: str) -> bool:
    """Whether the header names `text/event-stream`, and JSON not as the better answer."""
    events = _quality(accept, EVENTS)
    return events > 0 and events >= _quality(accept, "application/json")


def _quality(accept: str, kind: str) -> float:
    """How much a media type is wanted (RFC 9110, 12.5.1), 0 where it is not named itself."""
    for part in accept.lower().split(","):
        name, _semicolon, parameters = part.partition(";")
        if name.strip() == kind:
            told = _QUALITY.search(parameters)
            return float(told.group(1)) if told else 1.0
    return 0.0


async def event_stream(
    *, actor: User, reference: str, raw: bytes, headers: Mapping[str, str], right_of: RightOf
) -> EventStream:
    """Begin to execute what `raw` asks for. A reader waits until it has ended, whatever `Prefer` says. Raises
    `DomainError`."""
    request = replace(read_request(reference, raw, headers), wait_s=MAX_WAIT_S)
    here = await process.aensure_started()
    streaming = await here.awaited(begin(actor, request))
    right = right_of(lambda reader: access_execution(actor=reader, execution_id=streaming.execution_id))
    return EventStream(here, streaming, right)


class EventStream:
    """The events of one execution. `close` is called at last, also where nobody has begun to read."""

    def __init__(self, here: ExecutionProcess, streaming: Streaming, right: LastingRight) -> None:
        self._here = here
        self._streaming = streaming
        self._right = right
        self.headers = {
            "location": f"/api/v1/executions/{streaming.execution_id}/",
            "x-execution-id": str(streaming.execution_id),
            "x-cache": "bypass",
        }
        if streaming.is_repeated:
            self.headers["idempotent-replayed"] = "true"

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._events()

    def close(self) -> None:
        """Nobody reads on."""
        self._here.loop.call_soon_threadsafe(self._streaming.leave)

    async def _events(self) -> AsyncGenerator[bytes, None]:
        """An event per item, a comment while none comes; cut short when the right to read is gone."""
        following = self._next()
        try:
            while await self._right.holds():
                done, _waiting = await asyncio.wait({following}, timeout=self._right.due_in_s)
                if not done:
                    yield STILL_HERE
                    continue
                item = following.result()
                if item is None:
                    return
                yield _event(item)
                following = self._next()
        except Exception as error:
            status, body, _headers = problem_of(error)
            if status == 500:
                logger.exception("unexpected error")
            yield _written("error", body)
        finally:
            following.cancel()
            self.close()

    def _next(self) -> asyncio.Future[Item | None]:
        return asyncio.ensure_future(self._here.awaited(self._streaming.next()))


def _event(item: Item) -> bytes:
    match item:
        case Step(module, state):
            return _written("step", {"module": module, "state": state})
        case Piece(module, field, text):
            return _written("piece", {"module": module, "field": field, "text": text})
        case Answer(execution):
            return _written("result", in_detail(execution))


def _written(name: str, content: Mapping[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encoded(content))
