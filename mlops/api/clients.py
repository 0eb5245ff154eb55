"""Where a request comes from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeAlias

from django.conf import settings
from django.http import HttpRequest

Address: TypeAlias = IPv4Address | IPv6Address

HOST_BITS = 64
"""Of an IPv6 address: whoever has one has all that differ in them only."""


def client_address(request: HttpRequest) -> str | None:
    """The address that attempts to log in are counted by; None when there is none, as on a Unix socket.

    `X-Forwarded-For` is read from the right, and only as far as the proxies named in SIGNET_TRUSTED_PROXIES wrote it:
    what stands further left is what the client chose to send.
    """
    address = _parsed(request.META.get("REMOTE_ADDR", ""))
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    while hops and address is not None and _is_trusted(address):
        before = _parsed(hops.pop())
        if before is None:
            break
        address = before
    return None if address is None else str(_shared(address))


def _parsed(text: str) -> Address | None:
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: Address) -> bool:
    return any(address in network for network in settings.SIGNET_TRUSTED_PROXIES)


def _shared(address: Address) -> Address:
    if address.version == 4:
        return address
    return ip_network((address, HOST_BITS), strict=False).network_address
