"""Waiting for what a backend reports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.backends.processes import status

from headrace_backend_kubernetes.backend import KubernetesBackend
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus


async def until(
    backend: KubernetesBackend,
    cluster: str,
    holds: Callable[[ProcessStatus], object],
    process: str = SCHEDULER,
    within: float = 120,
) -> ProcessStatus:
    """Returns the status of a process once it is as a test wants it."""
    changes = backend.changes()
    found = await status(backend, cluster, process)
    try:
        async with asyncio.timeout(within):
            while not holds(found):
                await anext(changes)
                found = await status(backend, cluster, process)
    except TimeoutError:
        raise AssertionError(f"not within {within} s; the last status is {found}") from None
    return found


def exited(found: ProcessStatus) -> bool:
    return found.state is ProcessState.EXITED


def running(found: ProcessStatus) -> bool:
    return found.state is ProcessState.RUNNING
