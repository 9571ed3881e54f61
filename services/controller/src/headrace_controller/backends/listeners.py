"""Whether a process of the controller's own machine listens on an address, read from /proc."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from headrace_controller.backends.addresses import IpAddress, parse_address
from headrace_controller.backends.base import AddressRefused

# Of a process that its tenant's code fills up with more, not all are looked at.
_MOST_DESCRIPTORS, _MOST_PROCESSES = 4096, 64
_LISTENING = "0A"  # as /proc/net/tcp writes the state
_NO_HOST = "its host is not one that processes listen on here"

Listeners = Mapping[int, list[tuple[IpAddress, str]]]
"""By port, the addresses that something listens on, each with the name that its socket has in /proc/<pid>/fd."""


class ListenerChecks:
    """Checks reported addresses against the kernel's tables, for backends that start processes on this machine.

    The table of listeners is read once for all checks that wait for it, in a thread.

    Parameters
    ----------
    listen_host
        Host that Dask processes listen on. Empty means Dask's default.
    """

    def __init__(self, listen_host: str) -> None:
        self._listen_host = listen_host
        self._reading = asyncio.Lock()
        self._begun = self._done = 0  # readings
        self._listeners: Listeners = {}

    async def check(self, pid: int, address: str) -> None:
        """Raises `AddressRefused` unless the process, or another one of its group, listens there and nothing else."""
        given = parse_address(address)
        listeners = (await self._read()).get(given.port, [])
        await asyncio.to_thread(self._check, pid, given.host, given.ip, listeners)

    async def _read(self) -> Listeners:
        """The listeners at a time after the call."""
        begun = self._begun
        async with self._reading:
            if self._done <= begun:
                await asyncio.sleep(0)  # checks that are asked for at the same time share one reading
                self._begun += 1
                self._listeners = await asyncio.to_thread(_listeners)
                self._done = self._begun
            return self._listeners

    def _check(self, pid: int, host: str, ip: IpAddress | None, listeners: list[tuple[IpAddress, str]]) -> None:
        reached = self._resolved(host) if ip is None else [ip]
        if not all(map(self._allows, reached)):
            raise AddressRefused(_NO_HOST)
        serving = {name for bound, name in listeners if any(_serves(bound, one) for one in reached)}
        if not serving:
            raise AddressRefused("nothing listens there")
        for one in chain([pid], islice(_group(pid), _MOST_PROCESSES)):
            serving -= _sockets(one)
            if not serving:
                return
        raise AddressRefused("it leads to something else than the process")

    def _resolved(self, host: str) -> list[IpAddress]:
        if host != self._listen_host:
            raise AddressRefused(_NO_HOST)
        return _resolve(host)

    def _allows(self, ip: IpAddress) -> bool:
        allowed = _resolve(self._listen_host) if self._listen_host else []
        return ip.is_loopback or ip in allowed or (all(one.is_unspecified for one in allowed) and _is_own(ip))


def _resolve(host: str) -> list[IpAddress]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        raise AddressRefused("its host has no address") from None
    return [ipaddress.ip_address(entry[4][0]) for entry in found]


def _is_own(ip: IpAddress) -> bool:
    """Whether an address is one of this machine's; everything that is not can only be connected to elsewhere."""
    if ip.is_unspecified or ip.is_multicast:
        return False
    with socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6) as probe:
        try:
            probe.bind((str(ip), 0))
        except OSError:
            return False
    return True


def _serves(bound: IpAddress, ip: IpAddress) -> bool:
    """Whether a listener bound to one address may accept connections to another."""
    return bound == ip or (bound.is_unspecified and (bound.version == 6 or ip.version == 4))


def _listeners() -> Listeners:
    found: defaultdict[int, list[tuple[IpAddress, str]]] = defaultdict(list)
    for table in ("tcp", "tcp6"):
        for address, inode in _rows(Path("/proc/net") / table):
            host, _, port = address.partition(":")
            found[int(port, 16)].append((_address(host), f"socket:[{inode}]"))
    return found


def _rows(table: Path) -> Iterator[tuple[str, str]]:
    """Local address and inode of each listener; the kernel lists them before all connections."""
    try:
        with table.open(encoding="ascii") as lines:
            next(lines, None)  # the head
            for line in lines:
                fields = line.split()
                if fields[3] != _LISTENING:
                    return
                yield fields[1], fields[9]
    except OSError:
        return  # a machine without IPv6


def _address(text: str) -> IpAddress:
    """An address as the kernel writes it: words of 32 bits in the order of the machine."""
    words = (int(text[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(text), 8))
    ip = ipaddress.ip_address(b"".join(words))
    return getattr(ip, "ipv4_mapped", None) or ip


def _sockets(pid: int) -> set[str]:
    """Names of the sockets that a process holds; those that it opened early, as schedulers open their listeners."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            names = map(_target, islice(entries, _MOST_DESCRIPTORS))
            return {name for name in names if name.startswith("socket:")}
    except OSError:
        return set()  # it has ended


def _target(entry: os.DirEntry[str]) -> str:
    try:
        return str(Path(entry.path).readlink())
    except OSError:
        return ""  # closed meanwhile


def _group(leader: int) -> Iterator[int]:
    """The processes of the group that a command leads, or led."""
    for name in filter(str.isdecimal, (entry.name for entry in Path("/proc").iterdir())):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if os.getpgid(int(name)) == leader:
                yield int(name)
