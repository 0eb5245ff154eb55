"""The example matcher as DSPy engines, for `dspy.LM(MODEL, engine=..., async_engine=...)`."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeAlias

from dspy.lm15 import (
    Message,
    Request,
    Response,
    StreamDeltaEvent,
    StreamEndEvent,
    StreamStartEvent,
    TextDelta,
    TextPart,
    Usage,
    response_to_events,
)

from mlops.runtime.matcher.cache import LessonCache
from mlops.runtime.matcher.case import Case
from mlops.runtime.matcher.features import count_tokens
from mlops.runtime.matcher.fields import Kind
from mlops.runtime.matcher.learning import Lesson, learn
from mlops.runtime.matcher.prompt import Prompt, Task, read_inputs, read_prompt, read_task
from mlops.runtime.matcher.refusals import refuse_task
from mlops.runtime.matcher.strategies import Answer, Value
from mlops.types import MATCHER_NAME, MATCHER_NOTICE

StreamEvent: TypeAlias = StreamStartEvent | StreamDeltaEvent | StreamEndEvent

MODEL = MATCHER_NAME
DISCLAIMER = MATCHER_NOTICE

CACHE_BYTES = 32 * 1024 * 1024
# Below these sizes the work takes a few ms at most and is done on the event loop itself.
INLINE_LESSON_CHARACTERS = 4_000
INLINE_QUESTION_CHARACTERS = 4_000

_PIECE = re.compile(r"\s*\S+\s*")


class ExampleMatcher:
    """Fills a prompt's output fields by statistics over its demos, labels and inputs; refuses what needs more.

    It is not a language model: no weights, no network, no knowledge of the world. The same request always gets the
    same answer; above temperature 0 the draw comes from the request itself, `seed` and a `rollout_id` in the request's
    extensions included. Usage counts words and punctuation marks, not the subword tokens of language models.
    """

    supports_function_calling: ClassVar[bool] = False
    supports_response_schema: ClassVar[bool] = False
    supports_reasoning: ClassVar[bool] = False
    supported_params: ClassVar[frozenset[str]] = frozenset({"temperature", "max_tokens", "seed"})

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes` bounds what is kept of recent prompts: fitted matrices under a digest, never text."""
        self._cache_bytes = cache_bytes
        self._lessons = LessonCache(cache_bytes)

    def complete(self, request: Request) -> Response:
        """The reply in the form of the adapter that wrote the prompt. Raises CannotMatch."""
        return self.answer(request, read_prompt(request))

    def stream(self, request: Request) -> Iterator[StreamEvent]:
        """The same reply as events. Raises CannotMatch."""
        yield from _events(self.complete(request))

    def answer(self, request: Request, prompt: Prompt) -> Response:
        """The reply to a prompt that has been read. Raises CannotMatch."""
        task = read_task(prompt.system)
        refuse_task(task)
        key = _digest(prompt)
        lesson = self._lesson(key, task, prompt)
        inputs = read_inputs(prompt.question, task.inputs, is_question=True)
        temperature, draw = request.config.temperature or 0.0, _draw(key, prompt, request)
        case = Case(task, inputs, prompt.turns, temperature=temperature, draw=draw)
        answers = {name: strategy.answer(task.outputs[name], case) for name, strategy in lesson.strategies.items()}
        return _response(request, lesson.tokens + count_tokens(prompt.question), _rendered(task, answers))

    def is_quick(self, prompt: Prompt) -> bool:
        """Whether the answer takes a few ms at most: nothing much to learn, or learned already, and a short input."""
        if len(prompt.question) > INLINE_QUESTION_CHARACTERS:
            return False
        return len(prompt.lesson_text) <= INLINE_LESSON_CHARACTERS or _digest(prompt) in self._lessons

    @property
    def nbytes(self) -> int:
        """Bytes kept of recent prompts."""
        return self._lessons.nbytes

    def close(self) -> None:
        """Lets go of everything learned."""
        self._lessons = LessonCache(self._cache_bytes)

    def dump_state(self) -> dict[str, Any]:
        """What `load_state` needs: settings, nothing learned."""
        return {"cache_bytes": self._cache_bytes}

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> ExampleMatcher:
        """A matcher with the settings of another one."""
        return cls(**state)

    def __deepcopy__(self, memo: dict[int, object]) -> ExampleMatcher:
        return self  # DSPy copies engines along with modules; one cache serves all copies

    def _lesson(self, key: bytes, task: Task, prompt: Prompt) -> Lesson:
        lesson = self._lessons.get(key)
        if lesson is None:
            lesson = learn(task, prompt)
            self._lessons.put(key, lesson)
        return lesson


class AsyncExampleMatcher:
    """The matcher for an event loop: small work is done at once, the rest in one thread of its own.

    One, because the work holds Python's lock most of the time: more threads would be no faster and keep the event loop
    waiting for its turn. Its own, because the loop's default threads carry DSPy's hops.
    """

    def __init__(self, matcher: ExampleMatcher | None = None) -> None:
        """`matcher`: the one to share what was learned with."""
        self._matcher = matcher or ExampleMatcher()
        self._thread = _one_thread()

    async def complete(self, request: Request) -> Response:
        """As `ExampleMatcher.complete`."""
        prompt = read_prompt(request)
        if self._matcher.is_quick(prompt):
            return self._matcher.answer(request, prompt)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._matcher.answer, request, prompt)

    async def stream(self, request: Request) -> AsyncIterator[StreamEvent]:
        """As `ExampleMatcher.stream`."""
        for event in _events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Lets go of everything learned; work in flight ends by itself."""
        self._thread.shutdown(wait=False)
        self._thread = _one_thread()
        self._matcher.close()

    def dump_state(self) -> dict[str, Any]:
        """As `ExampleMatcher.dump_state`."""
        return self._matcher.dump_state()

    @classmethod
    def load_state(cls, state: dict[str, Any]) -> AsyncExampleMatcher:
        """As `ExampleMatcher.load_state`."""
        return cls(ExampleMatcher.load_state(state))

    def __deepcopy__(self, memo: dict[int, object]) -> AsyncExampleMatcher:
        return self


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="example-matcher")


def _events(response: Response) -> Iterator[StreamEvent]:
    """A reply word by word, as readers of streams expect it."""
    for event in response_to_events(response):
        if isinstance(event, StreamDeltaEvent):
            for piece in _PIECE.findall(event.delta.text):
                yield StreamDeltaEvent(delta=TextDelta(text=piece, part_index=event.delta.part_index))
        else:
            yield event


def _digest(prompt: Prompt) -> bytes:
    """Names what a prompt teaches: its system message and demos."""
    return hashlib.blake2b(_bytes(prompt.lesson_text), digest_size=16).digest()


def _draw(key: bytes, prompt: Prompt, request: Request) -> int:
    """A number that this very request always gets."""
    config = request.config
    if not config.temperature:
        return 0
    rollout = (config.extensions or {}).get("rollout_id")
    told = f"{config.temperature}/{config.seed}/{rollout}/{prompt.question}"
    return int.from_bytes(hashlib.blake2b(key + _bytes(told), digest_size=8).digest())


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _rendered(task: Task, answers: dict[str, Answer]) -> str:
    """The reply as the adapter reads it; reasoning tells how the values were found, and by whom."""
    account = "\n".join([f"{DISCLAIMER}.", *(answer.account for answer in answers.values())])
    values: dict[str, Value] = {
        name: account if field.kind is Kind.REASONING else answers[name].value for name, field in task.outputs.items()
    }
    if task.as_json:
        return json.dumps(values, ensure_ascii=False)
    blocks = [f"[[ ## {name} ## ]]\n{_chat_text(value)}" for name, value in values.items()]
    return "\n\n".join([*blocks, "[[ ## completed ## ]]"])


def _chat_text(value: Value) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    return text.replace("[[ ##", "[[##")  # a copied header must not open a field of its own


def _response(request: Request, read: int, text: str) -> Response:
    written = count_tokens(text)
    return Response(
        id=None,
        model=request.model,
        message=Message.assistant([TextPart(text)]),
        finish_reason="stop",
        usage=Usage(input_tokens=read, output_tokens=written, total_tokens=read + written),
    )
