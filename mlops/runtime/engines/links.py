"""One model of a chain: its connections, one client per event loop, and how many calls may be in flight on each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlsplit

from dspy.lm15 import Config, Request, request_from_openai_chat

from mlops.runtime.engines.failures import refused, shown
from mlops.runtime.engines.providers import Line, line_to, provider_of
from mlops.runtime.provider_list import is_offered
from mlops.runtime.tiers import tier_asked
from mlops.types import LanguageModelSpec, ModelErrorCode

_DSPYS = frozenset({"n", "rollout_id"})
"""Parameters that DSPy deals with itself and providers never see."""


class Client:
    """A line on one event loop, with the slots of its calls."""

    def __init__(self, link: Link, line: Line, limit: int) -> None:
        self.line = line
        self.busy = 0
        self._link = link
        self._slots = asyncio.Semaphore(limit)

    async def enter(self, left_s: float) -> None:
        """Wait until the concurrency limit lets one more call through. Raises TimeoutError after `left_s` seconds."""
        self.busy += 1
        try:
            if self._slots.locked():
                async with asyncio.timeout(left_s):
                    await self._slots.acquire()
            else:
                await self._slots.acquire()
        except BaseException:
            self.busy -= 1
            raise

    async def leave(self) -> None:
        self._slots.release()
        self.busy -= 1
        if self._link.is_retired and not self.busy:
            await self._link.hang_up()


class Link:
    """How one model is reached. Shared by event loops and threads; each loop has its own connections."""

    def __init__(self, spec: LanguageModelSpec) -> None:
        """Raises `ModelRefused` when the provider may not be called or the parameters make no request."""
        _refuse_other_providers(spec)
        self.spec = spec
        self.provider = provider_of(spec)
        self.config = _config_of(spec)
        self.tier = tier_asked(spec.parameters)
        self.described = _description(spec)
        self.is_retired = False
        self._clients: dict[asyncio.AbstractEventLoop, Client] = {}
        self._lock = threading.Lock()

    @property
    def lines(self) -> int:
        """How many event loops have connections to the model."""
        return len(self._clients)

    def client(self) -> Client:
        """The client of the running loop, connected when first used. Raises lm15 errors."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = Client(self, line_to(self.spec), self.spec.concurrency_limit)
            with self._lock:
                living = {known: kept for known, kept in self._clients.items() if not known.is_closed()}
                self._clients = living | {loop: client}
        return client

    def routed(self, request: Request, model: str, first: Link) -> Request:
        """`request` under the model's name on the wire; what `first` had set by its parameters is set by ours."""
        if self is first:
            return replace(request, model=model)
        return replace(request, model=model, config=_merged(request.config, first.config, self.config))

    def retire(self) -> None:
        """Hang up as soon as no call is under way. A later call still works and hangs up after itself."""
        self.is_retired = True
        for loop in list(self._clients):
            hanging_up = self._hang_up_if_idle()
            try:
                asyncio.run_coroutine_threadsafe(hanging_up, loop)
            except RuntimeError:  # the loop is closed: its sockets are closed along with the client
                hanging_up.close()
                self._forget(loop)

    async def hang_up(self) -> None:
        """Close the connections of the running loop."""
        client = self._forget(asyncio.get_running_loop())
        if client is not None:
            await client.line.hang_up()

    async def _hang_up_if_idle(self) -> None:
        client = self._clients.get(asyncio.get_running_loop())
        if client is not None and not client.busy:
            await self.hang_up()

    def _forget(self, loop: asyncio.AbstractEventLoop) -> Client | None:
        with self._lock:
            return self._clients.pop(loop, None)


def _refuse_other_providers(spec: LanguageModelSpec) -> None:
    if not is_offered(spec.name):
        raise refused(spec, "This provider may not be called.", ModelErrorCode.PROVIDER_REFUSED)


def _config_of(spec: LanguageModelSpec) -> Config:
    body = {name: value for name, value in spec.parameters.items() if value is not None and name not in _DSPYS}
    try:
        request = request_from_openai_chat({"model": "any", "messages": [{"role": "user", "content": "any"}], **body})
    except Exception as error:
        raise refused(spec, f"The parameters of the model are not valid: {error}") from None
    return request.config


def _merged(asked: Config, first: Config, own: Config) -> Config:
    """What the call itself set stays; what came from the first model's parameters gives way to this model's."""
    given_way = [field.name for field in fields(Config) if getattr(asked, field.name) == getattr(first, field.name)]
    return replace(asked, **{name: getattr(own, name) for name in given_way})


def _description(spec: LanguageModelSpec) -> dict[str, Any]:
    """What an execution keeps of the model: its parameters as they are now and its host, no secret."""
    described: dict[str, Any] = {"parameters": _hidden(spec.parameters, spec.api_key)}
    if spec.api_base:
        described["api_base"] = urlsplit(spec.api_base).hostname or ""
    return described


def _hidden(value: Any, secret: str | None) -> Any:
    if isinstance(value, str):
        return shown(value, secret) if secret and secret in value else value
    if isinstance(value, Mapping):
        return {name: _hidden(item, secret) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(item, secret) for item in value]
    return value
