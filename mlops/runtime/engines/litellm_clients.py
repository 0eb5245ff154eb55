"""LiteLLM and the HTTP clients that it makes. It takes more than a second and 130 MB to import: see `litellm_door`.

Its clients follow redirects and connect to whatever a name resolves to: here neither. Not all of its providers use
these clients: those that may be called at all are in `mlops.runtime.provider_list`. It takes keys and base URLs from
the environment where a call names none: here it does not. And it keeps its clients in a table by the address of their
event loop in memory, never closed, so that a later loop at the same place would be given the connections of one that is
gone: here they end with their loop.
"""

from __future__ import annotations

import inspect
import os
import socket
import urllib.request
from contextvars import ContextVar
from typing import Any

import httpx
from aiohttp import TCPConnector
from aiohttp.connector import AddrInfoType
from dspy.clients._litellm import get_litellm
from litellm.integrations.custom_secret_manager import CustomSecretManager
from litellm.llms.custom_httpx import http_handler
from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport
from litellm.types.secret_managers.main import KeyManagementSystem

from mlops.egress import ForbiddenAddress, addresses_of, is_address, may_connect, refuse_forbidden

litellm: Any = get_litellm(feature="engines")

_handlers: Any = http_handler
_transport: Any = LiteLLMAiohttpTransport
_answer_of = _transport.handle_async_request

_OF_THE_OPENAI_CLIENT = (
    *("AZURE_OPENAI_AD_TOKEN", "OPENAI_ADMIN_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS"),
    *("OPENAI_ORGANIZATION", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
)
"""What the client of OpenAI, which LiteLLM uses for many, reads of the environment by itself."""

_asked: ContextVar[httpx.URL | None] = ContextVar("asked", default=None)
"""What the connection that is being made is for; None when a proxy of the environment resolves the name."""


async def close_clients() -> None:
    """Close and forget the clients of the running loop."""
    table = litellm.in_memory_llm_clients_cache
    mark = table.update_cache_key_with_event_loop("")
    for key in [key for key in table.cache_dict if key.endswith(mark)]:
        client = table.cache_dict[key]
        table.delete_cache(key)
        closing = client.close()
        if inspect.isawaitable(closing):
            await closing


class NoSecrets(CustomSecretManager):  # type: ignore[misc]  # LiteLLM's types are not followed
    """LiteLLM asks it instead of the environment for keys, tokens and base URLs that a call does not name."""

    def sync_read_secret(self, *asked: Any, **how: Any) -> str:
        return ""

    async def async_read_secret(self, *asked: Any, **how: Any) -> str:
        return ""


class GuardedConnector(TCPConnector):
    """aiohttp's connections, each judged by its address when it is made."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "socket_factory": _socket_to})


class GuardedTransport(httpx.HTTPTransport):
    """For LiteLLM's clients that block: the address that was judged is the one that is connected to."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, _port(request.url)
        addresses = [host] if is_address(host) else addresses_of(host, port)
        permitted = [address for address in addresses if may_connect(host, port, address)]
        if not permitted:
            raise ForbiddenAddress
        request.extensions = {**request.extensions, "sni_hostname": host}
        request.url = request.url.copy_with(host=permitted[0])
        return _leading_nowhere(super().handle_request(request))


async def _guarded_answer(transport: Any, request: httpx.Request) -> httpx.Response:
    """What LiteLLM's transport answers, when the address may be called."""
    is_proxied = await transport._get_proxy_settings(request) is not None
    if is_proxied and is_address(host := request.url.host):
        refuse_forbidden(host, _port(request.url), host)
    token = _asked.set(None if is_proxied else request.url)
    try:
        return _leading_nowhere(await _answer_of(transport, request))
    finally:
        _asked.reset(token)


def _socket_to(info: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, address = info
    asked = _asked.get()
    if asked is not None:
        refuse_forbidden(asked.host, _port(asked), str(address[0]))
    return socket.socket(family, kind, protocol)


def _leading_nowhere(response: httpx.Response) -> httpx.Response:
    """Without its destination nobody follows a redirect: it is an answer that is not a success."""
    response.headers.pop("location", None)
    return response


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _guard() -> None:
    """LiteLLM offers no place to hand these in that all of its providers ask; its own clients are made of them."""
    _handlers.TCPConnector = GuardedConnector
    _handlers.AsyncHTTPHandler.should_use_aiohttp_transport = staticmethod(lambda: True)
    _transport.handle_async_request = _guarded_answer
    if not urllib.request.getproxies():  # a client with a transport of its own would go past the proxy
        litellm.sync_transport = GuardedTransport()
        litellm.module_level_client.close()  # it was made by the import, and makes itself anew


def leave_out_the_environment() -> None:
    """What is ambient must neither divert a call nor lend it a key."""
    litellm.secret_manager_client = NoSecrets()
    litellm._key_management_system = KeyManagementSystem.CUSTOM
    for variable in _OF_THE_OPENAI_CLIENT:
        os.environ.pop(variable, None)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # botocore would ask there for the role of this machine


_guard()
leave_out_the_environment()
