"""Processes of this machine, read from /proc."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_LINE_OF_USER = re.compile(rb"^Uid:\s+(\d+)", re.MULTILINE)
_LISTENING = "0A"  # as /proc/net/tcp writes the state
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """A process as the kernel describes it. `start_ticks`, since boot, tells it from others that had its pid."""

    pid: int
    state: str
    group: int
    session: int
    start_ticks: int

    @property
    def alive(self) -> bool:
        """False for a zombie: nothing is left of it but an exit code."""
        return self.state not in "ZX"

    @property
    def started(self) -> float:
        """Time of its start, in seconds since the epoch."""
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + self.start_ticks / _TICKS_PER_SECOND


def process(pid: int) -> Process | None:
    """Return a process, zombies included; None if there is none."""
    fields = _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()
    return Process(pid, fields[0], int(fields[2]), int(fields[3]), int(fields[19])) if fields else None


def processes() -> Iterator[Process]:
    """Yield the processes of this user that are alive; for root, those of all users."""
    user = os.getuid()
    with os.scandir(_PROC) as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            try:
                mine = user == 0 or entry.stat().st_uid == user
            except OSError:
                continue  # it has ended meanwhile
            if mine and (found := process(int(entry.name))) and found.alive:
                yield found


def environ(pid: int) -> dict[bytes, bytes]:
    """Return the environment that a process was executed with; empty if it has ended or is another user's."""
    pairs = (item.partition(b"=") for item in _read(pid, "environ").split(b"\0"))
    return {name: value for name, equals, value in pairs if equals}


def user(pid: int) -> int | None:
    """Return the id of the user who runs a process, also a set-user-id program; None if it has ended."""
    found = _LINE_OF_USER.search(_read(pid, "status"))
    return int(found[1]) if found else None


def soft_limit(pid: int, name: bytes) -> int:
    """Return a resource limit of a process by the name that the kernel gives it; 0 if there is none."""
    found = re.search(rb"^%s +(\d+) " % name, _read(pid, "limits"), re.MULTILINE)
    return int(found[1]) if found else 0


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, exact to the nanosecond; 0 if there is none."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the clock id that clock_getcpuclockid(3) computes
    except OSError:
        return 0.0


def port_holder(port: int) -> tuple[int, str] | None:
    """Return pid and name of the process that listens on a TCP port; None if it is not one of this user's."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for found in processes():
        try:
            descriptors = (_PROC / str(found.pid) / "fd").iterdir()
            if any(str(descriptor.readlink()) in sockets for descriptor in descriptors):
                return found.pid, _read(found.pid, "comm").decode(errors="replace").strip()
        except OSError:
            continue  # it has ended meanwhile
    return None


def port_owner(port: int) -> int | None:
    """Return the id of the user whose process listens on a TCP port, also while that process ends; None if none."""
    return next(iter(_listening(port).values()), None)


def _listening(port: int) -> dict[str, int]:
    """Return the inodes of the sockets that listen on a port, with their users' ids."""
    found: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in _read("net", table).decode().splitlines()[1:]]
        listening = (row for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port)
        found |= {row[9]: int(row[7]) for row in listening}
    return found


def _read(pid: int | str, name: str) -> bytes:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
