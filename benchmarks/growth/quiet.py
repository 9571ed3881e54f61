"""Clusters in which nothing happens: what they cost, and what a restart of the controller costs with them."""

from __future__ import annotations

import asyncio
import sys

from benchmarks.growth.deployment import Deployment, User
from benchmarks.growth.tables import Row

_AT_ONCE = 32
# After a restart work comes in waves: records, leases, sessions whose replica has gone.
_CALM_SECONDS = 5


async def measure(deployment: Deployment, counts: tuple[int, ...], *, seconds: float) -> list[Row]:
    user = await deployment.user("ann")
    await deployment.meter.until_quiet()
    nothing = await _restart(deployment)
    rows: list[Row] = []
    existing = 0
    for count in counts:
        row = Row(count, "quiet clusters")
        row.figures["CPU to create one, ms"] = await _create(deployment, user, count - existing)
        existing = count
        row.figures["CPU per minute, ms"] = await _quiet(deployment, seconds)
        row.figures |= {f"{name}, MiB": size for name, size in deployment.meter.memory().items()}
        restart = await _restart(deployment)
        row.figures["restart: all is reconciled and all agents are back after, s"] = restart.seconds
        row.figures["CPU per cluster, ms"] = (restart.cpu - nothing.cpu) * 1e3 / count
        deployment.agents.present.clear()
        alone = await _restart(deployment)
        row.figures["of these without agents, s"] = alone.seconds
        row.figures["without agents, CPU per cluster, ms"] = (alone.cpu - nothing.cpu) * 1e3 / count
        await _reconnect(deployment, count)
        running = await user.running()
        assert running == count, f"{running} of {count} clusters run"
        rows.append(row)
        sys.stderr.write(f"{row}\n")
    return rows


async def _create(deployment: Deployment, user: User, count: int) -> float:
    """Creates clusters and waits until all run; returns the milliseconds of processor time of each."""
    before, at_once = deployment.meter.cpu, asyncio.Semaphore(_AT_ONCE)

    async def create() -> None:
        async with at_once:
            await user.create()

    await asyncio.gather(*(create() for _ in range(count)))
    await deployment.meter.until_quiet()
    cpu = deployment.meter.cpu - before
    running = await user.running()
    assert running >= count, f"{running} of {count} clusters run"
    return cpu * 1e3 / count


async def _quiet(deployment: Deployment, seconds: float) -> float:
    before = deployment.meter.cpu
    await asyncio.sleep(seconds)
    return (deployment.meter.cpu - before) * 1e3 * 60 / seconds


class _Stretch:
    """Processor time and duration, both in seconds."""

    def __init__(self, cpu: float, seconds: float) -> None:
        self.cpu, self.seconds = cpu, seconds


async def _restart(deployment: Deployment) -> _Stretch:
    """Restarts the controller. Agents that stay away are given up much later only, but it notes that they are away."""
    await deployment.stop_controller()
    started = await deployment.start_controller()
    if deployment.agents.present.is_set():
        await deployment.agents.until(lambda: len(deployment.agents.connected) == len(deployment.agents.schedulers))
    busy = await deployment.meter.until_quiet(_CALM_SECONDS)
    return _Stretch(deployment.cpu_since_import, busy - started)


async def _reconnect(deployment: Deployment, count: int) -> None:
    deployment.agents.present.set()
    await deployment.agents.until(lambda: len(deployment.agents.connected) == count)
    await deployment.meter.until_quiet(_CALM_SECONDS)
