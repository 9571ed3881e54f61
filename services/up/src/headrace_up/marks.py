"""Finds everything that runs for a data directory by a mark in its environment, whoever started it.

The services hand their environment on to what they start (Envoy, Dask processes, what tasks start), so the mark
finds processes that nobody's pid file names. Only Linux shows environments, in /proc.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

VARIABLE = "HEADRACE_EMBEDDED"


def marked_processes(data: Path) -> list[int]:
    """Returns the processes that carry the data directory's mark, without this one."""
    mark = f"{VARIABLE}={data}".encode()
    return [pid for pid, path in _processes() if mark in _read(path / "environ").split(b"\0")]


def envoys(state_directory: Path) -> list[int]:
    """Returns the Envoys of a proxy: they are started without our environment, with a configuration from there."""
    start = [b"--config-path", os.fsencode(state_directory) + b"/"]
    return [pid for pid, path in _processes() if _begins(_read(path / "cmdline").split(b"\0")[1:3], start)]


def kill_all(find: Callable[[], list[int]], within: float = 1.0) -> list[int]:
    """Kills what is found until nothing is, for some may fork meanwhile; returns those that would not go."""
    deadline = time.monotonic() + within
    while left := find():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            return left
        time.sleep(0.005)
    return []


def _processes() -> list[tuple[int, Path]]:
    pids = [(int(entry.name), entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [(pid, path) for pid, path in pids if pid != os.getpid()]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # ended meanwhile, or somebody else's


def _begins(arguments: list[bytes], start: list[bytes]) -> bool:
    return len(arguments) == len(start) and all(a.startswith(b) for a, b in zip(arguments, start, strict=True))
