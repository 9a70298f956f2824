"""How many clients are connected, and from where: at most so many in all, and of one address. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Final

_IPV6_PREFIX_BITS: Final = 64
"""What one subscriber of a provider gets (RFC 6177): whoever has one address of it has them all."""


def source_of(address: str) -> str:
    """What connections of this IP address are counted under."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, _IPV6_PREFIX_BITS), strict=False))


class ConnectionTable:
    """Every connection that `admit` takes is to be told to `release` once, when it has ended."""

    def __init__(self, *, max_connections: int, max_per_source: int) -> None:
        self._max_connections = max_connections
        self._max_per_source = max_per_source
        self._by_source: Counter[str] = Counter()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, source: str) -> str | None:
        """Counts a connection of `source`; or says why it is one too many, and what to do. O(1)."""
        if self._count >= self._max_connections:
            return (
                f"{self._count} clients are connected to this node, which is its limit; use another node, or raise "
                "max_connections in [limits] and the limit of open files (ulimit -n)"
            )
        if self._by_source[source] >= self._max_per_source:
            return (
                f"{self._max_per_source} connections of {source} are open, the limit for one address; close some, or "
                "raise max_connections_per_address in [limits]"
            )
        self._by_source[source] += 1
        self._count += 1
        return None

    def release(self, source: str) -> None:
        assert self._by_source[source] > 0, "only what was admitted is released"
        self._count -= 1
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]
