"""POST execute for whoever accepts `text/event-stream`: what comes of the execution leaves as it comes.

Events: `step` (a module begins or has ended), `piece` (some text of an output field) and at last `result` with the
execution, whatever became of it. Refusals come before the first event, as for any other request.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

from executions.api.execute import read_request
from executions.representation import in_detail
from executions.selectors import access_execution
from executions.services.execute import MAX_WAIT_S, Answer
from executions.services.streaming import Item, Streaming, begin
from executions.types import Piece, Step
from mlops.api.problems import problem_told
from mlops.api.streams import STILL_HERE, LastingRight, while_readable
from mlops.encoding import encoded
from mlops.models import User

EVENTS = "text/event-stream"

_QUALITY = re.compile(r"\bq=([01](?:\.\d{1,3})?)\s*(?:;|$)")

RightOf = Callable[[Callable[[User], object]], LastingRight]
"""Makes the right to read on of a way to look the execution up for a reader."""


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
    streaming = await begin(actor, request)
    right = right_of(lambda reader: access_execution(actor=reader, execution_id=streaming.execution_id))
    return EventStream(streaming, right)


class EventStream:
    """The events of one execution. `close` is called at last, also where nobody has begun to read."""

    def __init__(self, streaming: Streaming, right: LastingRight) -> None:
        self._streaming = streaming
        self._right = right
        self.close = streaming.leave
        self.headers = {
            "location": f"/api/v1/executions/{streaming.execution_id}/",
            "x-execution-id": str(streaming.execution_id),
            "x-cache": "bypass",
        }
        if streaming.is_repeated:
            self.headers["idempotent-replayed"] = "true"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """An event per item, a comment while none comes; cut short when the right to read is gone."""
        try:
            items: AsyncGenerator[Item | None, None] = while_readable(self._right, self._streaming.next)
            async with aclosing(items):
                async for item in items:
                    yield STILL_HERE if item is None else _event(item)
        except Exception as error:
            yield _written("error", problem_told(error)[1])
        finally:
            self.close()


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
