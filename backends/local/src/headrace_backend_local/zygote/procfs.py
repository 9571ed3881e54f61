"""What runs on this machine, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace_backend_local.marks import VARIABLE, Mark

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_VARIABLE = f"{VARIABLE}=".encode()


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this user, as the kernel sees it."""

    pid: int
    state: str
    group: int
    session: int
    start_ticks: int  # since boot; with the pid it names a process for good

    @property
    def alive(self) -> bool:
        """Whether it is more than an exit code that nobody has asked for yet."""
        return self.state not in "ZX"

    @property
    def started(self) -> float:
        """When it was started, in seconds since the epoch."""
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + self.start_ticks / _TICKS


def process(pid: int) -> Process | None:
    """Returns what is known of a process, None if there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return Process(pid, fields[0], int(fields[2]), int(fields[3]), int(fields[19]))


def processes() -> Iterator[Process]:
    """Yields all processes of this user that are alive."""
    user = os.getuid()
    with os.scandir(_PROC) as entries:
        for entry in entries:
            if not entry.name.isdigit():
                continue
            try:
                mine = entry.stat().st_uid == user
            except OSError:
                continue
            if mine and (found := process(int(entry.name))) and found.alive:
                yield found


def mark(pid: int) -> Mark | None:
    """Returns the mark that a process carries."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    value = next((v for v in environment.split(b"\0") if v.startswith(_VARIABLE)), None)
    return Mark.parse(value[len(_VARIABLE) :].decode(errors="replace")) if value else None


def cpu_seconds(pid: int) -> float:
    """Returns the processor time that a process has used, to the nanosecond; 0 if there is none."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # what clock_getcpuclockid(3) returns
    except OSError:
        return 0.0
