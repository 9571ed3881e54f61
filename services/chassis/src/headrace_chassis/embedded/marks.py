"""Finds everything that runs for a data directory by a mark in its environment, whoever started it.

The services hand their environment on to what they start (Envoy, Dask processes, what tasks start), so the mark
finds processes that nobody's pid file names. Only Linux shows environments, in /proc.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

VARIABLE = "HEADRACE_EMBEDDED"


def marked_processes(data: Path) -> list[int]:
    """Returns the processes that carry the data directory's mark, without this one."""
    mark = f"{VARIABLE}={data}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if mark in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def kill_marked(data: Path, spare: Collection[int] = (), within: float = 1.0) -> list[int]:
    """Kills them until none is left, for some may fork meanwhile; returns those that would not go."""
    deadline = time.monotonic() + within
    while left := [pid for pid in marked_processes(data) if pid not in spare]:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            return left
        time.sleep(0.005)
    return []
