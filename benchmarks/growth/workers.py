"""One cluster with many workers: what one change costs."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import AsyncIterator

from benchmarks.growth.deployment import Deployment, User
from benchmarks.growth.measuring import Cost
from benchmarks.growth.tables import Row

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb

_REPEATED, _GETS = 15, 100


async def measure(deployment: Deployment, counts: tuple[int, ...]) -> list[Row]:
    """A watch of the cluster is open meanwhile, as each client has one."""
    user = await deployment.user("ann")
    rows: list[Row] = []
    for count in counts:
        cluster = await user.create()
        watch = Watch(user, cluster.name)
        await watch.until(phase=cluster_pb2.PHASE_RUNNING)
        await scale(user, cluster, count)
        await watch.until(running=count)
        await deployment.meter.until_quiet()
        rows.append(await _row(deployment, user, cluster, watch, count))
        sys.stderr.write(f"{rows[-1]}\n")
        await user.call("StopCluster", pb.StopClusterRequest(name=cluster.name))
        await watch.until(phase=cluster_pb2.PHASE_STOPPED)
        await watch.close()
        await deployment.meter.until_quiet()
    return rows


async def _row(deployment: Deployment, user: User, cluster: cluster_pb2.Cluster, watch: Watch, count: int) -> Row:
    scaling: list[Cost] = []
    reporting: list[Cost] = []
    for _ in range(_REPEATED):
        scaling.append(await _cost_of_scaling(deployment, user, cluster, count + 1))
        reporting.append(await _cost_of_a_report(deployment, cluster, watch, count + 1))
        await scale(user, cluster, count)
        await watch.until(running=count)
        await deployment.meter.settle()
    measurement = await deployment.meter.start()
    for _ in range(_GETS):
        await user.get(cluster.name)
    gets = await measurement.cost()
    get = Cost(gets.cpu_ms / _GETS, gets.redis_kb / _GETS)
    figures: dict[str, float] = {}
    for name, costs in (("scale(+1)", scaling), ("agent reports one worker", reporting), ("GET", [get])):
        figures[f"{name}: CPU, ms"] = statistics.median(cost.cpu_ms for cost in costs)
        figures[f"{name}: to Redis, kB"] = statistics.median(cost.redis_kb for cost in costs)
    return Row(count, "workers of one cluster", figures)


async def _cost_of_scaling(deployment: Deployment, user: User, cluster: cluster_pb2.Cluster, size: int) -> Cost:
    """Scales up by one; the new worker is launched and does not join yet."""
    agents = deployment.agents
    agents.join, launched = False, len(agents.launched)
    measurement = await deployment.meter.start()
    await scale(user, cluster, size)
    await agents.until(lambda: len(agents.launched) > launched)
    cost = await measurement.cost()
    agents.join = True
    return cost


async def _cost_of_a_report(deployment: Deployment, cluster: cluster_pb2.Cluster, watch: Watch, running: int) -> Cost:
    """Lets the worker join that was launched last."""
    scheduler = deployment.agents.schedulers[cluster.name.removeprefix("clusters/")]
    measurement = await deployment.meter.start()
    scheduler.joined(deployment.agents.launched[-1].process)
    await watch.until(running=running)
    return await measurement.cost()


async def scale(user: User, cluster: cluster_pb2.Cluster, size: int) -> None:
    await user.call("ScaleCluster", pb.ScaleClusterRequest(name=cluster.name, size=size))


class Watch:
    """The newest state of a cluster, from a watch that stays open."""

    def __init__(self, user: User, name: str) -> None:
        self._news = asyncio.Condition()
        self._cluster = cluster_pb2.Cluster()
        self._following = asyncio.create_task(self._follow(user.watch(name)))

    async def until(self, *, phase: cluster_pb2.Phase.ValueType | None = None, running: int | None = None) -> None:
        def reached() -> bool:
            count = sum(group.running for group in self._cluster.status.worker_groups)
            return self._cluster.status.phase == (phase or self._cluster.status.phase) and running in (None, count)

        async with asyncio.timeout(300), self._news:
            await self._news.wait_for(reached)

    async def close(self) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self, states: AsyncIterator[cluster_pb2.Cluster]) -> None:
        async for cluster in states:
            async with self._news:
                self._cluster = cluster
                self._news.notify_all()
