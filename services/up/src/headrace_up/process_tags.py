"""Finds the processes of a data directory by a variable in their environment.

Every process of a cluster inherits it, whatever started the process, so that a sweep finds processes that nothing else
knows of.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from headrace_chassis import procfs
from headrace_chassis.environment import inherited

VARIABLE = "HEADRACE_UP_DIRECTORY"


def tagged_environment(data: Path) -> dict[str, str]:
    """Return the environment that all parts have, with the tag of the data directory."""
    return {VARIABLE: str(data), **inherited(os.environ)}


def tagged_processes(data: Path) -> list[int]:
    """Return the processes that have the tag of the data directory, without this one."""
    tag = os.fsencode(data)
    return [
        process.pid
        for process in procfs.processes()
        if process.pid != os.getpid() and procfs.environ(process.pid).get(VARIABLE.encode()) == tag
    ]


def kill_all(find: Callable[[], list[int]], within: float = 15.0) -> list[int]:
    """Kill what is found until nothing is, since processes may fork meanwhile; return those that are left.

    It takes the kernel seconds to end hundreds.
    """
    deadline = time.monotonic() + within
    while left := find():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            return left
        time.sleep(0.02)
    return []
