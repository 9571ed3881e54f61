"""Addresses that agents report. Agents run among their tenants' code, so each address is checked before it is used."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import NamedTuple

from headrace_controller.backends.base import AddressRefused

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_SCHEME = "tls://"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


class HostPort(NamedTuple):
    """A reported address. `ip` is None for a host name."""

    host: str
    port: int
    ip: IpAddress | None


def parse_address(address: str) -> HostPort:
    """Reads "tls://10.0.0.7:40123", "10.0.0.7:8787" or the same with an IPv6 address in brackets.

    Raises `AddressRefused`.
    """
    text = address.removeprefix(_SCHEME)
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        raise AddressRefused("it is no host and port")
    bare = host[1:-1] if host.startswith("[") else host
    ip = _ip(bare)
    if ip is None and not _NAME.fullmatch(bare):
        raise AddressRefused("its host is neither an address nor a name")
    # All readers must read the same, so only the usual spelling is accepted.
    if text != f"[{bare}]:{int(port)}" and (":" in bare or text != f"{bare}:{int(port)}"):
        raise AddressRefused("it is not written as usual")
    return HostPort(bare, int(port), ip)


def check_remote_address(address: str, hosts: Collection[str], ports: range = range(1024, 65536)) -> None:
    """Refuses what is not an address of a process on another host than the controller's.

    Parameters
    ----------
    hosts
        IP addresses of the process, as the backend knows them and not as its agent says.
    ports
        Ports that processes may listen on.
    """
    given = parse_address(address)
    ip = given.ip
    if ip is None:
        raise AddressRefused("its host is a name, and only IP addresses are accepted")
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        raise AddressRefused("it leads to another host than the process runs on")
    if ip not in {_ip(host) for host in hosts}:
        raise AddressRefused("it is not an address of the process")
    if given.port not in ports:
        raise AddressRefused(f"its port is not one of {ports.start} to {ports.stop - 1}")


def _ip(host: str) -> IpAddress | None:
    """The address of a host; an IPv4 address that is written as an IPv6 one is taken for what it is."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if "%" in host else getattr(ip, "ipv4_mapped", None) or ip
