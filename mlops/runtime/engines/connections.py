"""The connections of lm15 with two rules of ours: only to addresses that may be called, and no redirect is followed.

Addresses are judged when a connection is made, not at each request: connections are kept.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any

from dspy._vendor.lm15.transports import ConnectError, StdlibAsyncTransport
from dspy._vendor.lm15.transports._async import _AsyncConnection
from dspy.lm15 import ServerError

from mlops.egress import is_address, may_connect
from mlops.runtime.engines.failures import AddressRefused


class GuardedTransport(StdlibAsyncTransport):  # type: ignore[misc]  # lm15 ships no types
    """lm15's transport. Where a proxy of the environment makes the connection, it is the proxy that resolves names."""

    async def _do_stream(self, request: Any) -> Any:
        response = await super()._do_stream(request)
        if 300 <= response.status < 400:
            await response.aclose()
            raise ServerError("A redirect is not followed.", status=response.status)
        return response

    async def _open(self, parsed: Any, *, proxy: Any, origin: Any, connect_timeout: float) -> Any:
        if proxy is not None:
            if is_address(parsed.host) and not may_connect(parsed.host, parsed.port, parsed.host):
                raise AddressRefused
            return await super()._open(parsed, proxy=proxy, origin=origin, connect_timeout=connect_timeout)
        failure = ConnectError(f"{parsed.host} has no address")
        for address in await _permitted(parsed.host, parsed.port, connect_timeout):
            try:
                return await self._connect(parsed, address, origin, connect_timeout)
            except ConnectError as error:
                failure = error
        raise failure

    async def _connect(self, parsed: Any, address: str, origin: Any, limit_s: float) -> Any:
        if not parsed.is_tls:
            at = replace(parsed, host=address)
            return await super()._open(at, proxy=None, origin=origin, connect_timeout=limit_s)
        streams = await self._tls_half().connect(
            host=address, port=parsed.port, server_hostname=parsed.host, timeout=limit_s
        )
        return _AsyncConnection(origin, *streams)


async def _permitted(host: str, port: int, limit_s: float) -> list[str]:
    """Those addresses of `host` that may be called. Raises `AddressRefused` when there are none but others."""
    addresses = [host] if is_address(host) else await _resolved(host, port, limit_s)
    permitted = [address for address in addresses if may_connect(host, port, address)]
    if addresses and not permitted:
        raise AddressRefused
    return permitted


async def _resolved(host: str, port: int, limit_s: float) -> list[str]:
    try:
        async with asyncio.timeout(limit_s):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # among them TimeoutError
        raise ConnectError(f"{host} could not be resolved: {error}") from error
    return [str(entry[4][0]) for entry in found]
