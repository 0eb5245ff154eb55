"""Every provider that may be called goes through the guarded clients, and the others are called by nobody.

What is connected to is noted at the sockets themselves, whichever client made them.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.conf import settings
from dspy._vendor.lm15.router import LITELLM_PROVIDER_PREFIXES
from dspy.lm15 import Message, Request

from mlops.egress import allow_private_hosts
from mlops.runtime.embeddings import aclose_embedding_models, aembed
from mlops.runtime.engines import failure_of, language_model
from mlops.runtime.engines.litellm_door import litellm_loaded
from mlops.runtime.provider_list import BUILTIN, DIVERTED, NATIVE, THROUGH_LITELLM, is_offered
from mlops.runtime.recorder import Recorder, recording
from mlops.types import LanguageModelKind, LanguageModelSpec, ModelErrorCode, ModelFailure
from tests.mlops.runtime.calling import SECRET, aask, run
from tests.provider import Provider

Call = Callable[[LanguageModelSpec], Awaitable[None]]

HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"
REFUSED = "The address of the provider is private, or its port is not one of the web."
OTHER_ROUTES = ("replicate/m", "responses/m")
"""Names of models in which LiteLLM sees something else than their provider."""


async def chat(spec: LanguageModelSpec) -> None:
    await aask(spec, Recorder())


async def stream(spec: LanguageModelSpec) -> None:
    request = Request(model=spec.name, messages=(Message.user("why?"),))
    with recording(Recorder()):
        async for _ in language_model(spec).engine.async_engine.stream(request):
            pass


async def vectors(spec: LanguageModelSpec) -> None:
    await aembed(spec, ["a card"])


def spec_at(address: str | None, name: str, call: Call, key: str | None = SECRET) -> LanguageModelSpec:
    kind = LanguageModelKind.EMBEDDING if call is vectors else LanguageModelKind.CHAT
    limits: dict[str, Any] = {"timeout_s": 30.0, "deadline_s": 30.0, "max_retries": 0}
    return LanguageModelSpec(id=name, name=name, kind=kind, api_base=address, api_key=key, **limits)


def outcomes(call: Call, specs: Iterable[LanguageModelSpec]) -> dict[str, ModelFailure | None]:
    """Why each call failed, by the name of its model; all at once on one event loop."""

    async def one(spec: LanguageModelSpec) -> ModelFailure | None:
        try:
            await call(spec)
        except Exception as error:
            return failure_of(error)
        return None

    async def all_of_them() -> dict[str, ModelFailure | None]:
        named = list(specs)
        try:
            return dict(zip([spec.name for spec in named], await asyncio.gather(*map(one, named)), strict=True))
        finally:
            await aclose_embedding_models()

    return run(all_of_them())


@pytest.fixture(autouse=True)
def litellm() -> Iterator[Any]:
    yield run(litellm_loaded())
    allow_private_hosts(settings.SIGNET_ALLOWED_PRIVATE_HOSTS)


@pytest.fixture(autouse=True)
def connected(litellm: Any, monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, int]]:
    """What sockets were connected to, or tried to. Every name resolves to this machine."""
    seen: set[tuple[str, int]] = set()
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def noted(self: socket.socket, address: Any) -> None:
        seen.add(address[:2])
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)  # taken back, it is inherited again

    def resolved(host: Any, *rest: Any, **hints: Any) -> Any:
        return resolve(host if host == ELSEWHERE else HERE, *rest, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return seen


class Astray(ThreadingHTTPServer):
    """It leads everybody elsewhere, and remembers with what headers they came."""

    def __init__(self) -> None:
        super().__init__((HERE, 0), Redirect)
        self.heard: list[dict[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://{HERE}:{self.server_port}"


class Redirect(BaseHTTPRequestHandler):
    server: Astray

    def do_POST(self) -> None:
        self.server.heard.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(307)
        self.send_header("location", f"http://{ELSEWHERE}:8000{self.path}")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def astray() -> Iterator[Astray]:
    with Astray() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_each_listed_provider_refuses_to_call_what_may_not_be_called(connected: set[Any]) -> None:
    """With the base URL of its row, and with its own, when that resolves to a private address by then."""
    allow_private_hosts([])
    answers = [
        outcomes(call, [spec_at(address, f"{provider}/m", call) for provider in sorted(THROUGH_LITELLM | NATIVE)])
        for call, address in (
            (stream, f"http://{HERE}:8000"),
            (vectors, f"http://{HERE}:8000"),
            (chat, None),
        )
    ]
    refused = {name for answer in answers for name, failure in answer.items() if failure and failure.message == REFUSED}
    assert connected == set()
    assert all(None not in answer.values() for answer in answers)
    assert refused == {f"{provider}/m" for provider in THROUGH_LITELLM | NATIVE}


def test_no_listed_provider_follows_a_redirect(connected: set[Any], astray: Astray) -> None:
    allow_private_hosts([HERE, ELSEWHERE])
    for call in (chat, stream, vectors):
        specs = [spec_at(astray.address, f"{provider}/m", call) for provider in THROUGH_LITELLM | NATIVE]
        assert None not in outcomes(call, specs).values()
        assert connected == {(HERE, astray.server_port)}


@pytest.mark.parametrize("name", OTHER_ROUTES)
def test_the_name_of_a_model_does_not_choose_another_client(connected: set[Any], name: str) -> None:
    allow_private_hosts([])
    specs = [spec_at(f"http://{HERE}:8000", f"{provider}/{name}", stream) for provider in THROUGH_LITELLM]
    answer = outcomes(stream, specs)
    assert connected == set()
    assert None not in answer.values()


def test_all_other_providers_of_litellm_are_refused(connected: set[Any], litellm: Any) -> None:
    allow_private_hosts([HERE])
    others = {str(getattr(provider, "value", provider)) for provider in litellm.provider_list}
    others -= THROUGH_LITELLM | NATIVE
    assert others >= {"aiohttp_openai", "bedrock", "bedrock_mantle", "sagemaker", "sagemaker_chat", "sagemaker_nova"}
    assert others >= {"vertex_ai", "vertex_ai_beta", "azure_ai", "azure_text", "huggingface", "databricks", "watsonx"}
    names = [f"{provider}/m" for provider in (*others, "nobody")]
    names += [f"{provider}/{part}" for provider in THROUGH_LITELLM for part in DIVERTED]
    for call in (chat, stream, vectors):
        answer = outcomes(call, [spec_at(f"http://{HERE}:8000", name, call) for name in names])
        assert answer == {
            name: ModelFailure(ModelErrorCode.PROVIDER_REFUSED, "This provider may not be called.", name)
            for name in names
        }
    assert connected == set()


def test_a_provider_that_stands_in_is_judged_as_well() -> None:
    allow_private_hosts([HERE])
    other = spec_at(None, "bedrock/m", chat)
    spec = LanguageModelSpec(id="m", name="openai/m", api_key=SECRET, fallbacks=(other,))
    failure = outcomes(chat, [spec])["openai/m"]
    assert failure == ModelFailure(ModelErrorCode.PROVIDER_REFUSED, "This provider may not be called.", "bedrock/m")


def test_the_native_providers_are_those_of_lm15() -> None:
    assert set(LITELLM_PROVIDER_PREFIXES) == NATIVE
    assert is_offered(f"{BUILTIN}/example-matcher-1")


@pytest.mark.parametrize(("name", "call"), [("together_ai/m", chat), ("together_ai/m", stream), ("voyage/m", vectors)])
def test_no_key_of_the_environment_is_lent(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, connected: set[Any], name: str, call: Call
) -> None:
    for variable in ("TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN", "VOYAGE_API_KEY"):
        monkeypatch.setenv(variable, "sk-of-somebody-else")
    allow_private_hosts([HERE])

    failure = outcomes(call, [spec_at(None, name, call, key=None)])[name]
    assert failure == ModelFailure(ModelErrorCode.AUTHENTICATION, "No secret is set for this model.", name)
    assert connected == set()

    assert outcomes(call, [spec_at(provider.base_url, name, call, key=None)]) == {name: None}
    assert {request.headers["authorization"] for request in provider.requests} == {"Bearer none"}


def test_no_token_and_no_address_of_the_environment_is_taken(
    astray: Astray, monkeypatch: pytest.MonkeyPatch, connected: set[Any]
) -> None:
    for variable in ("AZURE_AD_TOKEN", "AZURE_OPENAI_AD_TOKEN", "MISTRAL_AZURE_API_KEY", "COHERE_API_KEY"):
        monkeypatch.setenv(variable, "sk-of-somebody-else")
    for variable in ("TOGETHER_AI_API_BASE", "MISTRAL_API_BASE", "MISTRAL_AZURE_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.setenv(variable, astray.address)
    importlib.import_module("mlops.runtime.engines.litellm_clients").leave_out_the_environment()  # once more
    allow_private_hosts([HERE])

    outcomes(vectors, [spec_at(astray.address, name, vectors) for name in ("azure/m", "cohere/m", "mistral/m")])
    assert len(astray.heard) == 3
    assert "sk-of-somebody-else" not in str(astray.heard)

    connected.clear()
    outcomes(stream, [spec_at(None, name, stream) for name in ("together_ai/m", "mistral/m", "ai21/m")])
    assert {port for _, port in connected} == {443}


def test_nobody_asks_the_metadata_of_a_cloud_for_the_role_of_this_machine(litellm: Any, connected: set[Any]) -> None:
    """Not even LiteLLM when it is asked past us."""
    assert os.environ["AWS_EC2_METADATA_DISABLED"] == "true"
    for model in ("bedrock/anthropic.claude-3-haiku-20240307-v1:0", "sagemaker/m", "bedrock_mantle/m"):
        with pytest.raises(Exception, match=r"(?i)credentials|region"):
            litellm.completion(model=model, messages=[{"role": "user", "content": "why?"}])
    assert not any(port == 80 for _, port in connected)
