"""Specs of processes to start, and waiting for what becomes of them; of any backend."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import cast

from tests.backends.local.programs import LIVES, Program

from headrace_controller.backends.base import (
    SCHEDULER,
    Backend,
    LogPiece,
    ProcessKey,
    ProcessSpec,
    ProcessState,
    ProcessStatus,
    Role,
)


def new_cluster() -> str:
    return "c" + secrets.token_hex(10)[:19]


def spec(cluster: str, process: str, runs: Program | Sequence[str] = LIVES, **more: object) -> ProcessSpec:
    """A process that runs a program, or a command that only a backend with processes understands."""
    command = runs.command if isinstance(runs, Program) else runs
    options = {"start_command": list(command), "program": runs, **cast("dict[str, object]", more.pop("options", {}))}
    fields: dict[str, object] = {
        "generation": 3,
        "owner": "users/ann",
        "agent_token": "token",
        "agent_endpoint": "unix:/nowhere",
        **more,
    }
    role = Role.SCHEDULER if process == SCHEDULER else Role.WORKER
    return ProcessSpec(key=ProcessKey(cluster, process), role=role, options=options, **fields)  # pyright: ignore[reportArgumentType]


async def status(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    [found] = [s for s in await backend.observe(cluster) if s.key.process == process]
    return found


async def text(backend: Backend, cluster: str, process: str | None = None, *, tail_lines: int | None = None) -> str:
    pieces = [piece async for piece in backend.logs(cluster, process, tail_lines=tail_lines)]
    return b"".join(piece.lines for piece in pieces).decode()


async def until_exited(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    return await _until(backend, cluster, process, lambda s: s.state is ProcessState.EXITED)


async def until_running(backend: Backend, cluster: str, process: str = SCHEDULER) -> ProcessStatus:
    return await _until(backend, cluster, process, lambda s: s.state is ProcessState.RUNNING)


async def until_says(backend: Backend, cluster: str, said: str, process: str = SCHEDULER) -> None:
    """Waits until a process has written something."""
    async with asyncio.timeout(10), aclosing(_logs(backend, cluster, process)) as pieces:
        heard = b""
        async for piece in pieces:
            heard += piece.lines
            if said.encode() in heard:
                return


def _logs(backend: Backend, cluster: str, process: str | None = None) -> AsyncGenerator[LogPiece]:
    return cast("AsyncGenerator[LogPiece]", backend.logs(cluster, process, follow=True))


async def _until(backend: Backend, cluster: str, process: str, holds: Callable[[ProcessStatus], bool]) -> ProcessStatus:
    changes = backend.changes()
    found = await status(backend, cluster, process)
    async with asyncio.timeout(10):
        while not holds(found):
            changed = await anext(changes)
            if changed.key == found.key:
                found = changed
    return found
