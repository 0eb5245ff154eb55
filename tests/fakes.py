"""Language models that answer from a function, without a network: for tests of everything above the engines."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.lm15 import Message, Request, Response, TextPart, Usage, response_to_events

from mlops.runtime.recorder import Recorder, current_recorder, span
from mlops.types import LanguageModelSpec, Price, SpanKind, TokenUsage

Answer = Callable[[dict[str, str], Request], "str | Exception"]
PRICE = Price("price-1", input=1_000_000, cached_input=100_000, output=2_000_000)

_FIELD = re.compile(r"\[\[ ## (\w+) ## \]\]\n(.*?)(?=\n\n\[\[ ## |\n\nRespond with|\Z)", re.DOTALL)


def fields(**values: Any) -> str:
    """An answer in the form of DSPy's chat adapter."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in [*texts.items(), ("completed", "")])


def asked(request: Request) -> dict[str, str]:
    """The fields of the last user message of a prompt of the chat adapter."""
    return dict(_FIELD.findall(request.messages[-1].text or ""))


@dataclass
class ScriptedEngine:
    """Answers with `answer(fields, request)`, an exception is raised; notes requests; meters 10 + 5 tokens."""

    answer: Answer
    delay_s: float = 0.0
    requests: list[Request] = field(default_factory=list)
    supports_function_calling = False
    supports_response_schema = False
    supports_reasoning = False
    supported_params = frozenset({"temperature", "max_tokens", "stop"})

    def complete(self, request: Request) -> Response:
        self.requests.append(request)
        with span(SpanKind.LLM, request.model) as opened:
            recorder = current_recorder() or Recorder()
            recorder.keep(opened, "messages", [{"role": item.role, "content": item.text} for item in request.messages])
            said = self.answer(asked(request), request)
            if isinstance(said, Exception):
                raise said
            recorder.keep(opened, "output", said)
            opened.usage = TokenUsage(10, 5)
            opened.cost = recorder.meter(request.model, opened.usage, PRICE)
        return Response(
            id="fake",
            model=request.model,
            message=Message.assistant([TextPart(said)]),
            finish_reason="stop",
            usage=Usage(input_tokens=10, output_tokens=5, total_tokens=15),
        )

    def stream(self, request: Request) -> Iterator[Any]:
        yield from response_to_events(self.complete(request))

    def close(self) -> None:
        """Nothing is open."""


class AsyncScriptedEngine:
    """The same on an event loop, with a pause of `delay_s` before the answer."""

    def __init__(self, engine: ScriptedEngine) -> None:
        self.engine = engine

    async def complete(self, request: Request) -> Response:
        await asyncio.sleep(self.engine.delay_s)
        return self.engine.complete(request)

    async def aclose(self) -> None:
        """Nothing is open."""


def scripted(answer: Answer, *, name: str = "fake/model", delay_s: float = 0.0) -> dspy.LM:
    """A language model that answers with `answer(fields, request)`; its engine is `lm.engine`."""
    engine = ScriptedEngine(answer, delay_s)
    return dspy.LM(name, engine=engine, async_engine=AsyncScriptedEngine(engine), cache=False, num_retries=0)


def spec_of(name: str = "fake/model") -> LanguageModelSpec:
    return LanguageModelSpec(id=name, name=name)
