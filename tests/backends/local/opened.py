"""A local backend that is open for a while, and what its processes report of themselves."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.backends.processes import text, until_written

from headrace_backend_local.backend import LocalBackend
from headrace_controller.backends.process import SCHEDULER

WARM = ()
"""The command of a process that is forked warm."""

DEAF = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
"""A command that ignores its termination."""


@asynccontextmanager
async def opened(backend: LocalBackend) -> AsyncGenerator[LocalBackend]:
    """Opens a backend, and closes it."""
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def facts(backend: LocalBackend, cluster: str, process: str = SCHEDULER) -> dict[str, str]:
    """Returns what a process of the fake agent has written of itself."""
    await until_written(backend, cluster, "files:", process)
    lines = (await text(backend, cluster, process)).splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def niceness(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
