"""Where this system may connect to when a row says where: to public addresses, and to private ones only when told.

An address in a row is a request that this machine makes for its author: without a limit it reaches what only this
machine can reach, such as services on loopback, neighbours and the metadata of a cloud. The limit holds twice: when
the row is saved, for a clear error, and at each connection, where the address itself is judged and not its name, so
that a name that resolves to something else by then is of no use.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

WEB_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
"""Below it, all but the web's own ports belong to other protocols."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_NEVER_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)


class ForbiddenAddress(PermissionError):
    """A connection that is not made. To HTTP clients it is one of the errors that the network has."""

    def __init__(self) -> None:
        super().__init__("The address may not be called.")


class PrivateHosts:
    """What is private and may be called all the same: names, single addresses and networks."""

    def __init__(self, items: Iterable[str] = ()) -> None:
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for item in items:
            try:
                self._networks.append(ip_network(item, strict=False))
            except ValueError:
                self._names.add(_plain(item))

    def include(self, host: str, address: Address) -> bool:
        return _plain(host) in self._names or any(address in network for network in self._networks)


def allow_private_hosts(items: Iterable[str]) -> None:
    """Set what this process may call besides public addresses: names, addresses and networks. At first nothing."""
    global _allowed  # noqa: PLW0603  # a setting of the process, handed in by whoever starts it
    _allowed = PrivateHosts(items)


def may_connect(host: str, port: int, address: str) -> bool:
    """Whether a connection to `address`, which is what `host` resolved to, may be made."""
    try:
        judged = _judged(address)
    except ValueError:
        return False
    return _allowed.include(host, judged) or (_is_public(judged) and is_usual_port(port))


def refuse_forbidden(host: str, port: int, address: str) -> None:
    """Raise `ForbiddenAddress` unless `may_connect`."""
    if not may_connect(host, port, address):
        raise ForbiddenAddress


def is_usual_port(port: int) -> bool:
    """Whether providers listen there."""
    return port in WEB_PORTS or FIRST_FREE_PORT <= port <= 65535


def is_address(host: str) -> bool:
    """Whether `host` is an address in its usual spelling, and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_disguised_address(host: str) -> bool:
    """Whether `host` is an address in a spelling that hides it: decimal, octal, hexadecimal or shortened."""
    try:
        socket.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return not is_address(host)


def addresses_of(host: str, port: int) -> list[str]:
    """What `host` resolves to now; empty when nobody knows. It blocks."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(entry[4][0]) for entry in found]


def _judged(address: str) -> Address:
    """The address that packets go to in the end: IPv4 inside of IPv6 is taken out. Raises ValueError."""
    found = ip_address(address)
    if isinstance(found, IPv4Address):
        return found
    if found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return IPv4Address(int(found) & 0xFFFFFFFF) if found in _NAT64 else found


def _is_public(address: Address) -> bool:
    if any(address in network for network in _NEVER_PUBLIC):
        return False
    return isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


_allowed = PrivateHosts()
