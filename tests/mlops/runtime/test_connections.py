"""Where calls may go: an address is judged when a connection is made, whatever its name; no redirect is followed.

The servers are real and on loopback; which of its addresses count as private is a setting, as in a real network.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from django.conf import settings
from dspy.lm15 import Message, Request

from mlops.egress import ForbiddenAddress, allow_private_hosts
from mlops.runtime.embeddings import aclose_embedding_models, aembed
from mlops.runtime.engines import failure_of, language_model
from mlops.runtime.engines.litellm_door import litellm_loaded
from mlops.runtime.recorder import Recorder, recording
from mlops.types import LanguageModelKind, LanguageModelSpec, ModelErrorCode, ModelFailure
from tests.mlops.runtime.calling import aask, run, spec_of
from tests.provider import Behaviour, Exchange, Provider

Call = Callable[[LanguageModelSpec], Coroutine[Any, Any, None]]
Resolver = Callable[[], asyncio.AbstractEventLoop]

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
"""Where the providers of the tests listen, and where they do not."""

REFUSED = "The address of the provider is private, or its port is not one of the web."
REDIRECTED = "The provider answered with a redirect, and none is followed (HTTP {code})."
VAGUE = {"openai_like/vectors": "The provider could not be reached, or broke the connection off (HTTP 500)."}
"""LiteLLM does not tell which answer of this provider was none that it understood."""


async def chat(spec: LanguageModelSpec) -> None:
    await aask(spec, Recorder())


async def stream(spec: LanguageModelSpec) -> None:
    request = Request(model=spec.name, messages=(Message.user("why?"),))
    with recording(Recorder()):
        async for _ in language_model(spec).engine.async_engine.stream(request):
            pass


async def vectors(spec: LanguageModelSpec) -> None:
    try:
        await aembed(spec, ["a card"])
    finally:
        await aclose_embedding_models()


every_way = pytest.mark.parametrize(
    ("name", "call"),
    [
        ("openai/stub", chat),
        ("openai/stub", stream),
        ("together_ai/stub", chat),
        ("together_ai/stub", stream),
        ("deepinfra/stub", chat),
        ("openai/vectors", vectors),
        ("openai_like/vectors", vectors),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)


@pytest.fixture(autouse=True)
def _what_is_allowed() -> Iterator[None]:
    """LiteLLM is loaded before anything is timed; what a test allows holds for that test."""
    run(litellm_loaded())
    yield
    allow_private_hosts(settings.SIGNET_ALLOWED_PRIVATE_HOSTS)


def model_at(address: str, name: str, call: Call) -> LanguageModelSpec:
    kind = LanguageModelKind.EMBEDDING if call is vectors else LanguageModelKind.CHAT
    limits = {"timeout_s": 60.0, "deadline_s": 60.0, "max_retries": 0}
    return spec_of(Provider(), name, kind=kind, api_base=address, **limits)


def failure(call: Call, spec: LanguageModelSpec, resolver: Resolver = asyncio.new_event_loop) -> ModelFailure:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # what it is, `failure_of` says
        run(call(spec), resolver)
    return failure_of(caught.value)


def redirect(code: int, to: str) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        exchange.send(code, b"", {"location": to})

    return behave


def resolving(*answers: str) -> tuple[Resolver, list[str]]:
    """An event loop that resolves each name to the next of `answers`, the last for ever; and the names it was asked."""
    asked: list[str] = []

    class Loop(asyncio.SelectorEventLoop):
        async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
            asked.append(host)
            address = answers[min(len(asked), len(answers)) - 1]
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]

    return Loop, asked


def named(provider: Provider) -> str:
    return provider.base_url.replace(HERE, "provider.example")


@every_way
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(provider: Provider, backup: Provider, name: str, call: Call, code: int) -> None:
    provider.script(*[redirect(code, f"{backup.base_url}/chat/completions")] * 9)
    failed = failure(call, model_at(provider.base_url, name, call))
    message = VAGUE.get(name, REDIRECTED.format(code=code))
    assert failed == ModelFailure(ModelErrorCode.PROVIDER_UNAVAILABLE, message, name)
    assert len(provider.requests) == 1
    assert backup.requests == []


@every_way
def test_private_addresses_are_not_called(provider: Provider, name: str, call: Call) -> None:
    allow_private_hosts(["10.0.0.0/8", "localhost"])
    failed = failure(call, model_at(provider.base_url, name, call))
    assert failed == ModelFailure(ModelErrorCode.INVALID_REQUEST, REFUSED, name)
    assert provider.requests == []


@every_way
def test_a_name_is_judged_by_what_it_resolves_to_now(provider: Provider, name: str, call: Call) -> None:
    """Saved while the name led to an allowed address; it leads to a private one when it is called."""
    allow_private_hosts([ELSEWHERE])
    resolver, asked = resolving(HERE)
    failed = failure(call, model_at(named(provider), name, call), resolver)
    assert failed == ModelFailure(ModelErrorCode.INVALID_REQUEST, REFUSED, name)
    assert provider.requests == []
    assert set(asked) == {"provider.example"}


@every_way
def test_the_address_that_was_judged_is_the_one_that_is_called(provider: Provider, name: str, call: Call) -> None:
    """A resolver that answers differently each time cannot slip another address in after the look."""
    allow_private_hosts([HERE])
    resolver, asked = resolving(HERE, ELSEWHERE)
    run(call(model_at(named(provider), name, call)), resolver)
    assert (len(provider.requests), asked) == (1, ["provider.example"])
    assert provider.requests[0].headers["host"] == named(provider).split("/")[2]


def test_a_connection_that_is_kept_is_not_judged_again(provider: Provider) -> None:
    resolver, asked = resolving(HERE)
    spec = model_at(named(provider), "openai/stub", chat)

    async def thrice() -> None:
        for _ in range(3):
            await chat(spec)

    run(thrice(), resolver)
    assert (len(provider.requests), len(asked)) == (3, 1)


def test_the_next_address_of_a_name_is_tried_when_the_first_does_not_answer(provider: Provider) -> None:
    class Loop(asyncio.SelectorEventLoop):
        async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
            both = (ELSEWHERE, HERE)
            return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)) for address in both]

    run(chat(model_at(named(provider), "openai/stub", chat)), Loop)
    assert len(provider.requests) == 1


def test_clients_of_litellm_that_block_obey_too(provider: Provider, backup: Provider) -> None:
    """Some of its providers fetch what they need before the call, with clients of their own."""
    litellm = run(litellm_loaded())
    handler = litellm.module_level_client
    provider.script(redirect(307, backup.base_url), redirect(307, backup.base_url))
    for client in (handler, type(handler)()):
        answer = client.client.post(f"{provider.base_url}/chat/completions", json={"model": "stub"})
        assert (answer.status_code, "location" in answer.headers) == (307, False)
    assert backup.requests == []
    allow_private_hosts([])
    for client in (handler, type(handler)()):
        with pytest.raises(ForbiddenAddress):
            client.client.post(f"{provider.base_url}/chat/completions", json={"model": "stub"})
    assert len(provider.requests) == 2
