"""Remembers which processes were started, safely against pids that were used again."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace.private_files import write_private


@dataclass(frozen=True)
class Process:
    """A process for good: no other one ever has the same three."""

    pid: int
    start_ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Returns the process that has this pid now; None without one, or with one that has ended already."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        if fields[0] in {"Z", "X"}:
            return None
        return cls(pid, int(fields[19]), Path("/proc/sys/kernel/random/boot_id").read_text().strip())

    def runs(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self


def remember(path: Path, pid: int) -> None:
    """Writes the pid file of a process just started."""
    if process := Process.of(pid):
        write_private(path, json.dumps(asdict(process)) + "\n")


def recall(path: Path) -> Process | None:
    """Returns the process of a pid file if it still runs."""
    try:
        process = Process(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return process if process.runs() else None


def end_remembered(directory: Path, within: float = 1.0) -> list[str]:
    """Ends what an earlier run, killed before it could, has left; returns the names."""
    left = {path.stem: process for path in sorted(directory.glob("*.json")) if (process := recall(path))}
    for process in left.values():
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and any(process.runs() for process in left.values()):
        time.sleep(0.005)
    for process in left.values():
        _signal(process, signal.SIGKILL)
    for path in directory.glob("*.json"):
        path.unlink()
    return list(left)


def _signal(process: Process, number: signal.Signals) -> None:
    if process.runs():
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return
