"""Processes of ``python -m headrace.agent``, started by their environment alone: no zygote forks them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.client.agent.running import Cluster

from headrace.agent.identity import move_token_to_file


async def run(
    cluster: Cluster, process: str, *command: str, given: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    environment = {**os.environ, **(cluster.identity(process).to_environment() if given is None else given)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "headrace.agent",
        *command,
        env=environment,
        cwd=cluster.directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def run_by_file(
    cluster: Cluster, process: str, *command: str, variables: Mapping[str, str] | None = None
) -> tuple[asyncio.subprocess.Process, Path]:
    """Starts it as a backend does that passes the token in a file."""
    environment, file = cluster.identity(process).to_environment(), cluster.directory / f"{process}.token"
    environment |= variables or {}
    move_token_to_file(environment, file)
    return await run(cluster, process, *command, given=environment), file


def environments(pid: int) -> list[bytes]:
    """What /proc shows of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{number}/environ").read_bytes() for number in (pid, *children)]


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def log_of(process: asyncio.subprocess.Process) -> str:
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return output.decode()
