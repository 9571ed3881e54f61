"""Where a call comes from, for limits by source."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

FORWARDED_FOR = "x-forwarded-for"
LOCAL = "local"
# The rest of an IPv6 address is the subscriber's choice.
IPV6_NETWORK_BITS = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def source_of(peer: str, metadata: Mapping[str, str | bytes], proxies: Iterable[Network]) -> str:
    """Return the address that a call comes from; of an IPv6 address its network; `LOCAL` without one.

    A proxy appends the address of its own peer to `x-forwarded-for`. So the last entry is believed, and only if the
    call comes from a proxy: over a unix socket, or from one of `proxies`.

    Parameters
    ----------
    peer
        As gRPC names it, such as ``ipv4:10.0.0.7:40000``.
    metadata
        Metadata of the call.
    proxies
        Networks of the proxies before this service.
    """
    address = _address_of(peer)
    if address is None or any(address in network for network in proxies):
        address = _read(str(metadata.get(FORWARDED_FOR, "")).rpartition(",")[2].strip()) or address
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), IPV6_NETWORK_BITS), strict=False))
    return LOCAL if address is None else str(address)


def _address_of(peer: str) -> _Address | None:
    kind, _, rest = unquote(peer).partition(":")
    return _read(rest.rpartition(":")[0].strip("[]")) if kind in {"ipv4", "ipv6"} else None


def _read(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
