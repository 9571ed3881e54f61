"""Clusters in which nothing happens: what they cost, and what a restart of the controller costs with them."""

from __future__ import annotations

import asyncio
import sys
import time

from benchmarks.growth.deployment import Deployment, User
from benchmarks.growth.tables import Row

_AT_ONCE = 32


async def measure(deployment: Deployment, counts: tuple[int, ...], *, seconds: float) -> list[Row]:
    user = await deployment.user("ann")
    await deployment.meter.until_quiet()
    nothing = await _restart(deployment)
    deployment.agents.present.set()
    rows: list[Row] = []
    existing = 0
    for count in counts:
        row = Row(count, "quiet clusters")
        row.figures["CPU to create one, ms"] = await _create(deployment, user, count - existing)
        existing = count
        running = await user.running()
        assert running == count, f"{running} of {count} clusters run"
        row.figures["CPU per minute, ms"] = await _quiet(deployment, seconds)
        row.figures |= {f"{name}, MiB": size for name, size in deployment.meter.memory().items()}
        restart = await _restart(deployment)
        row.figures["restart: until reconciled, s"] = restart.seconds
        row.figures["CPU per cluster, ms"] = (restart.cpu - nothing.cpu) * 1e3 / count
        back = await _reconnect(deployment, count)
        row.figures["agents: until all are back, s"] = back.seconds
        row.figures["CPU per agent, ms"] = back.cpu * 1e3 / count
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
    return (deployment.meter.cpu - before) * 1e3 / count


async def _quiet(deployment: Deployment, seconds: float) -> float:
    before = deployment.meter.cpu
    await asyncio.sleep(seconds)
    return (deployment.meter.cpu - before) * 1e3 * 60 / seconds


class _Stretch:
    """Processor time and duration, both in seconds."""

    def __init__(self, cpu: float, seconds: float) -> None:
        self.cpu, self.seconds = cpu, seconds


async def _restart(deployment: Deployment) -> _Stretch:
    """Restarts the controller while agents stay away; they are missed only much later."""
    deployment.agents.present.clear()
    await deployment.stop_controller()
    started = await deployment.start_controller()
    busy = await deployment.meter.until_quiet()
    return _Stretch(deployment.cpu_since_import, busy - started)


async def _reconnect(deployment: Deployment, count: int) -> _Stretch:
    before, started = deployment.meter.cpu, time.monotonic()
    deployment.agents.present.set()
    await deployment.agents.until(lambda: len(deployment.agents.connected) == count)
    busy = await deployment.meter.until_quiet()
    return _Stretch(deployment.meter.cpu - before, busy - started)
