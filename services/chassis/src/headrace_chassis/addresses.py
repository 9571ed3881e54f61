"""Addresses as settings write them: ``unix:/path`` or ``host:port``."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

# sun_path has 108 bytes on Linux and 104 on macOS, including a zero at the end.
UNIX_PATH_BYTES = 100

DNS_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
DNS_NAME = rf"^{DNS_LABEL}(\.{DNS_LABEL})*$"
OPTIONAL_DNS_NAME = rf"{DNS_NAME}|^$"


def unix_path(address: str) -> Path | None:
    """Return the path of a ``unix:`` address, None for any other."""
    if not address.startswith("unix:"):
        return None
    rest = address.removeprefix("unix:")
    return Path(rest.removeprefix("//"))


def host_port(address: str) -> tuple[str, int]:
    """Split ``host:port``; an IPv6 host is in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def listening_address(address: str) -> tuple[str, int]:
    """Split a ``host:port`` to listen on. The host ``::`` means all addresses of both families.

    A kernel without IPv6 cannot listen on it: there it becomes ``0.0.0.0``.
    """
    host, port = host_port(address)
    return ("0.0.0.0" if host == "::" and not socket.has_dualstack_ipv6() else host), port  # noqa: S104 as was asked for


def is_loopback(address: str) -> bool:
    """Whether a ``host:port`` can be reached from this machine only."""
    host, _ = host_port(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(address: str) -> str:
    """Return the address, or raise ValueError with what is wrong with it."""
    if (path := unix_path(address)) is not None:
        if not path.is_absolute():
            raise ValueError(
                f"{address!r}: the path of a unix socket must be absolute, as in unix:/run/headrace/auth.sock"
            )
        if len(bytes(path)) >= UNIX_PATH_BYTES:
            raise ValueError(f"{address!r}: the path of a unix socket must be shorter than {UNIX_PATH_BYTES} bytes")
        return address
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is neither unix:/path nor host:port")
    return address
