"""What runs for a data directory."""

from __future__ import annotations

import os
from pathlib import Path

from headrace_chassis import procfs


def running(data: Path) -> dict[int, str]:
    """Return the command lines of all processes that have the directory in their environment or command line."""
    found: dict[int, str] = {}
    for process in procfs.processes():
        line = command_line(process.pid)
        mentions = os.fsencode(data) in b"\0".join(procfs.environ(process.pid).values()) or str(data) in line
        if mentions and process.pid != os.getpid():
            found[process.pid] = line
    return found


def find(data: Path, words: str) -> int:
    """Return the pid of the one process whose command line has the words."""
    found = [pid for pid, line in running(data).items() if words in line]
    assert len(found) == 1, f"{words}: {running(data)}"
    return found[0]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
