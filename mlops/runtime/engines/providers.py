"""Which engine speaks to a provider: lm15 where it has a door for it, LiteLLM for the rest, the example matcher."""

from __future__ import annotations

import functools
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from dspy._vendor.lm15.registry import lookup
from dspy._vendor.lm15.router import LITELLM_PROVIDER_PREFIXES
from dspy.clients.engines import AsyncLiteLLMEngine
from dspy.lm15 import AsyncLMRouter, NotConfiguredError, Request, Response, RouterConfig

from mlops.runtime.engines.connections import GuardedTransport
from mlops.runtime.engines.litellm_door import litellm_loaded, refusals_told
from mlops.runtime.matcher import MODEL as EXAMPLE_MATCHER
from mlops.runtime.matcher import AsyncExampleMatcher, ExampleMatcher
from mlops.types import LanguageModelSpec

CONNECT_TIMEOUT_S = 10.0
_NO_KEY = "none"
"""What a gateway without authentication is sent as its key."""


class Speaker(Protocol):
    """Whatever makes one attempt at a request: an lm15 provider, DSPy's LiteLLM engine, the example matcher."""

    async def complete(self, request: Request) -> Response: ...

    def stream(self, request: Request) -> AsyncIterator[object]: ...


@dataclass(frozen=True, slots=True)
class Line:
    """An open line to a provider: who speaks, the model's name on the wire, how to hang up."""

    speaker: Speaker
    model: str
    hang_up: Callable[[], Awaitable[None]]


def is_matcher(spec: LanguageModelSpec) -> bool:
    return spec.name == EXAMPLE_MATCHER


def is_native(spec: LanguageModelSpec) -> bool:
    """Whether lm15 speaks to this provider itself."""
    return spec.provider in LITELLM_PROVIDER_PREFIXES


def provider_of(spec: LanguageModelSpec) -> str:
    """The provider in lm15's words, which say how it counts tokens."""
    return str(LITELLM_PROVIDER_PREFIXES.get(spec.provider, spec.provider))


def line_to(spec: LanguageModelSpec) -> Line:
    """A new line for the running event loop. Raises lm15 errors, `NotConfiguredError` without a secret."""
    if is_matcher(spec):
        return Line(AsyncExampleMatcher(matcher()), spec.name, _nothing)
    return _native_line(spec) if is_native(spec) else _litellm_line(spec)


@functools.cache
def matcher() -> ExampleMatcher:
    """The process's one example matcher: what it learned is shared, and bounded once."""
    return ExampleMatcher()


async def _nothing() -> None:
    """The matcher has no connections."""


def _native_line(spec: LanguageModelSpec) -> Line:
    provider = provider_of(spec)
    router = AsyncLMRouter(
        RouterConfig(
            env={},  # nothing ambient: OPENAI_BASE_URL and the like must neither divert a call nor lend it a key
            api_keys={provider: key_of(spec)},
            base_urls={provider: spec.api_base} if spec.api_base else None,
            transport=(transport := _transport(spec.concurrency_limit)),
        )
    )
    model = spec.name.partition("/")[2]
    speaker = router.lm(f"{provider}:{model}")
    return Line(speaker, router.resolve(f"{provider}:{model}").model, transport.aclose)


def key_of(spec: LanguageModelSpec) -> str:
    """The secret of the model, or what a server without authentication is sent. Raises `NotConfiguredError`.

    A call without a key of its own would carry one that the environment has for somebody else.
    """
    provider = provider_of(spec)
    definition = lookup(provider)
    placeholder = definition.placeholder_key if definition is not None else None
    key = spec.api_key or placeholder or (_NO_KEY if spec.api_base else None)
    if key is None:
        raise NotConfiguredError("No secret is set for this model.", provider=provider)
    return str(key)


def _transport(concurrency_limit: int) -> GuardedTransport:
    """Connections without per-operation timeouts: the attempt as a whole has one, and each costs an asyncio task.

    Proxies of the environment are honoured; where there are none, it is not searched at every call.
    """
    return GuardedTransport(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=None,
        write_timeout=None,
        pool_timeout=None,
        max_connections=concurrency_limit,
        trust_env=bool(urllib.request.getproxies()),
    )


def _litellm_line(spec: LanguageModelSpec) -> Line:
    settings = {"api_key": key_of(spec), "api_base": spec.api_base, "timeout": spec.timeout_s}
    engine = AsyncLiteLLMEngine(**{name: value for name, value in settings.items() if value is not None})
    return Line(_LiteLLM(engine), spec.name, engine.aclose)


class _LiteLLM:
    """DSPy's LiteLLM engine, with LiteLLM loaded when it is first called."""

    def __init__(self, engine: AsyncLiteLLMEngine) -> None:
        self._engine = engine

    async def complete(self, request: Request) -> Response:
        await litellm_loaded()
        with refusals_told():
            return await self._engine.complete(request)

    async def stream(self, request: Request) -> AsyncIterator[object]:
        await litellm_loaded()
        with refusals_told():
            async for event in self._engine.stream(request):
                yield event
