"""Specs of processes to start, and waiting for what they do; for any backend."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, cast

from tests.backends.programs import RUNS_ON, Program

from headrace_controller.backends.base import Backend, LogPiece
from headrace_controller.backends.process import (
    SCHEDULER,
    ProcessKey,
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    Role,
)
from headrace_controller.model import Resources

BACKEND = "tested"
"""Name of the tested backend in all specs."""


def new_cluster() -> str:
    return "c" + secrets.token_hex(10)[:19]


def spec(
    cluster: str,
    process: str,
    runs: Program | Sequence[str] = RUNS_ON,
    *,
    settings: Mapping[str, object] | None = None,
    **facts: Any,
) -> ProcessSpec:
    """A process that runs a program, or a command that only a backend with processes understands."""
    command = runs.command if isinstance(runs, Program) else runs
    defaults: dict[str, Any] = {
        "backend": BACKEND,
        "generation": 3,
        "owner": "ann",
        "agent_token": "token",
        "resources": Resources(),
    }
    return ProcessSpec(
        key=ProcessKey(cluster, process),
        role=Role.SCHEDULER if process == SCHEDULER else Role.WORKER,
        settings={"start_command": list(command), "program": runs, **(settings or {})},
        **{**defaults, **facts},
    )


async def status(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    [found] = [s for s in await backend.observe(cluster) if s.key.process == process]
    return found


async def pieces(
    backend: Backend,
    cluster: str,
    process: str | None = None,
    *,
    tail_lines: int | None = None,
    positions: Mapping[str, str] | None = None,
) -> list[LogPiece]:
    return [p async for p in backend.logs(cluster, process, tail_lines=tail_lines, positions=positions)]


async def text(
    backend: Backend,
    cluster: str,
    process: str | None = None,
    *,
    tail_lines: int | None = None,
    positions: Mapping[str, str] | None = None,
) -> str:
    read = await pieces(backend, cluster, process, tail_lines=tail_lines, positions=positions)
    return b"".join(piece.lines for piece in read).decode()


async def until_exited(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    return await _until(backend, cluster, process, lambda s: s.state is ProcessState.EXITED)


async def until_running(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    return await _until(backend, cluster, process, lambda s: s.state is ProcessState.RUNNING)


async def until_written(backend: Backend, cluster: str, text: str, process: str = SCHEDULER) -> None:
    """Waits until a process has written something."""
    async with promised(backend.capabilities.notice_seconds), aclosing(_follow(backend, cluster, process)) as log:
        written = b""
        async for piece in log:
            written += piece.lines
            if text.encode() in written:
                return


def promised(seconds: float) -> asyncio.Timeout:
    """Bounds what a backend promises to take so long; with much time on top, for the machine may be busy."""
    return asyncio.timeout(seconds + 60)


def _follow(backend: Backend, cluster: str, process: str) -> AsyncGenerator[LogPiece]:
    return cast("AsyncGenerator[LogPiece]", backend.logs(cluster, process, follow=True))


async def _until(backend: Backend, cluster: str, process: str, holds: Callable[[ProcessStatus], bool]) -> ProcessStatus:
    changes = backend.changes()
    found = await status(backend, cluster, process)
    async with promised(backend.capabilities.notice_seconds):
        while not holds(found):
            changed = await anext(changes)
            if changed.key == found.key:
                found = changed
    return found
