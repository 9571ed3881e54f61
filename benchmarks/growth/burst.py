"""Many clusters created at once, and what another user notices."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.growth.deployment import Deployment, User
from benchmarks.growth.schedulers import ROOT
from benchmarks.growth.tables import Row

from headrace.v1 import cluster_pb2


async def measure(deployment: Deployment, counts: tuple[int, ...]) -> list[Row]:
    """Each client creates a cluster and watches it until it runs; processes enrol, as real ones do."""
    deployment.agents.enrol = True
    many, other = await deployment.user("ann"), await deployment.user("bob")
    theirs = await other.create()
    await _until_running(other, theirs.name)
    rows: list[Row] = []
    for count in counts:
        await deployment.meter.until_quiet()
        before, started = deployment.meter.cpu, time.monotonic()
        await asyncio.gather(*(_create(many) for _ in range(count)))
        seconds = time.monotonic() - started
        await deployment.meter.until_quiet()
        cpu = deployment.meter.cpu - before
        # Once more, as the other user's requests take processor time too.
        async with _reading(deployment, other, theirs.name) as latencies:
            await asyncio.gather(*(_create(many) for _ in range(count)))
        latencies.sort()
        figures = {
            "all run after, s": seconds,
            "CPU per cluster, ms": cpu * 1e3 / count,
            "another user's GET, p50, ms": latencies[len(latencies) // 2] * 1e3,
            "p99, ms": latencies[int(len(latencies) * 0.99)] * 1e3,
            "GETs": len(latencies),
        }
        rows.append(Row(count, "clusters created at once", figures))
        sys.stderr.write(f"{rows[-1]}\n")
    return rows


@asynccontextmanager
async def _reading(deployment: Deployment, user: User, name: str) -> AsyncIterator[list[float]]:
    """Reads the cluster meanwhile, in another process; the list has the latencies in seconds afterwards."""
    latencies: list[float] = []
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.growth.reader", deployment.endpoint, user.authorization, name,
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=1 << 24,
    )  # fmt: skip
    assert reader.stdout is not None
    try:
        await reader.stdout.readline()
        yield latencies
    finally:
        answer, _ = await reader.communicate(b"")  # without input it would not end
    latencies += json.loads(answer)


async def _create(user: User) -> None:
    cluster = await user.create()
    await _until_running(user, cluster.name)


async def _until_running(user: User, name: str) -> None:
    async for cluster in user.watch(name):
        if cluster.status.phase == cluster_pb2.PHASE_RUNNING:
            return
