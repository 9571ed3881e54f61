"""What pods cost a whole controller: a process of it with Valkey, whose pods pretended nodes say to run.

Agents of schedulers are simulated; no worker ever joins. Figures are of the controller's process, without its imports.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.growth.deployment import Deployment, User
from benchmarks.growth.tables import Row
from benchmarks.kubernetes.controller import OBJECTS
from benchmarks.kubernetes.pods import PODS
from tests.kubernetes.running import Kubernetes

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb

_SMALL = {"cores": 0.001, "memory_bytes": 1 << 20}
_CLUSTER_PODS = 1000
_QUIET_SECONDS = 15
_REQUESTS = re.compile(r"^headrace_kubernetes_requests_total\{(.+)\} (.+)$", re.MULTILINE)


class RunningController:
    """A running controller, and what it has cost."""

    def __init__(self, deployment: Deployment, user: User, page: str) -> None:
        self.deployment, self.user, self._page = deployment, user, page
        self._before = Counter[str]()

    async def figures(self, what: Awaitable[object], pods: int) -> dict[str, float]:
        """Awaits something, and until its consequences are over; returns what that has cost for each pod."""
        meter, began = self.deployment.meter, time.monotonic()
        cpu, received, requests = meter.cpu, await meter.received(), await self.requests()
        await what
        seconds = max(time.monotonic(), await meter.until_quiet()) - began
        made = await self.requests()
        return {
            "s": seconds,
            "CPU per pod, ms": 1000 * (meter.cpu - cpu) / pods,
            "requests per pod": (made - requests).total() / pods,
            "to Valkey per pod, kB": (await meter.received() - received) / 1000 / pods,
            "PSS, MiB": meter.memory()["PSS"],
        }

    async def requests(self) -> Counter[str]:
        """Requests of the process to the API server until now, by what they did."""
        page = await self._read()
        return Counter({labels: int(float(number)) for labels, number in _REQUESTS.findall(page)})

    async def left(self) -> dict[str, float]:
        """What is there now in the controller's process and in Valkey."""
        page = await self._read()
        redis = self.deployment.redis
        return {
            "objects": _value(page, OBJECTS),
            "open files": _value(page, "process_open_fds"),
            "keys": await redis.dbsize(),
            "Valkey, MiB": (await redis.info("memory"))["used_memory"] / 2**20,
        }

    async def stop(self, clusters: list[cluster_pb2.Cluster]) -> None:
        await asyncio.gather(*(self._stop(cluster.name) for cluster in clusters))

    async def delete(self, clusters: list[cluster_pb2.Cluster]) -> None:
        requests = [pb.DeleteClusterRequest(name=cluster.name) for cluster in clusters]
        await asyncio.gather(*(self.user.call("DeleteCluster", request) for request in requests))

    async def until_running(self, processes: int) -> None:
        """Waits until this number of processes has been launched, counted from the start."""
        await self.deployment.agents.until(lambda: len(self.deployment.agents.launched) == processes)

    async def _stop(self, name: str) -> None:
        await self.user.call("StopCluster", pb.StopClusterRequest(name=name))
        async for cluster in self.user.watch(name):
            if cluster.status.phase == cluster_pb2.PHASE_STOPPED:
                return

    async def _read(self) -> str:
        def read() -> str:
            with urllib.request.urlopen(self._page, timeout=10) as page:
                return page.read().decode()

        return await asyncio.to_thread(read)


def _value(page: str, metric: str) -> float:
    found = re.search(rf"^{metric} (.+)$", page, re.MULTILINE)
    assert found is not None, f"no {metric}"
    return float(found[1])


@asynccontextmanager
async def running(kubernetes: Kubernetes, namespace: str) -> AsyncGenerator[RunningController]:
    with TemporaryDirectory(prefix="hrw-") as folder, socket.socket() as free:
        directory = Path(folder)
        free.bind(("127.0.0.1", 0))
        page = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        backend = {"kubeconfig": str(kubernetes.kubeconfig), "namespace": namespace, "pods": PODS}
        (directory / "backend.json").write_text(json.dumps({**backend, "requests_per_second": 1000}))
        settings = {"metrics_listen": page, "scheduler": _SMALL, "worker": _SMALL}
        async with Deployment(directory, "benchmarks.kubernetes.controller", **settings) as deployment:
            deployment.agents.join = False
            await deployment.meter.until_quiet()
            try:
                yield RunningController(deployment, await deployment.user("ann"), f"http://{page}/metrics")
            except BaseException:
                print((directory / "log").read_text()[-5000:])
                raise


async def live(controller: RunningController, pods: int) -> list[Row]:
    """Starts clusters of 1,000 pods each, leaves them alone, restarts the controller, stops and deletes them."""
    rows: list[Row] = []
    sizes = [min(_CLUSTER_PODS, pods - first) for first in range(0, pods, _CLUSTER_PODS)]
    clusters: list[cluster_pb2.Cluster] = []
    before = await controller.requests()

    async def measure(what: str, work: Awaitable[object]) -> None:
        rows.append(Row(f"{pods:,} pods: {what}", "controller", await controller.figures(work, pods)))
        print(rows[-1], flush=True)

    async def start() -> None:
        clusters.extend(await asyncio.gather(*(controller.user.create(size - 1) for size in sizes)))
        await controller.until_running(pods)

    await measure("start, until all run", start())
    await measure(f"{_QUIET_SECONDS} s of nothing", asyncio.sleep(_QUIET_SECONDS))
    made = await controller.requests() - before
    rows.append(Row(f"{pods:,} pods: another controller knows all", "controller", await _restart(controller, pods)))
    before = Counter[str]()
    await measure("stop, until all have ended", controller.stop(clusters))
    await measure("delete", controller.delete(clusters))
    made += await controller.requests() - before
    print(f"{pods:,} pods made {made.total() / pods:.2f} requests each:", dict(made), flush=True)
    return rows


async def _restart(controller: RunningController, pods: int) -> dict[str, float]:
    deployment = controller.deployment
    await deployment.stop_controller()
    received, began = (
        int((await deployment.redis.info("stats"))["total_net_input_bytes"]),
        await deployment.start_controller(),
    )
    await deployment.agents.until(lambda: len(deployment.agents.connected) == len(deployment.agents.schedulers))
    busy = await deployment.meter.until_quiet(5)
    return {
        "s": busy - began,
        "CPU per pod, ms": 1000 * deployment.cpu_since_import / pods,
        "requests per pod": (await controller.requests()).total() / pods,
        "to Valkey per pod, kB": (await deployment.meter.received() - received) / 1000 / pods,
        "PSS, MiB": deployment.meter.memory()["PSS"],
    }


async def come_and_go(
    controller: RunningController, kubernetes: Kubernetes, namespace: str, clusters: int, workers: int
) -> list[Row]:
    """Clusters with a scheduler and workers, one after the other: what each costs, of ten at a time."""
    rows: list[Row] = []
    for first in range(0, clusters, 10):
        number = min(10, clusters - first)

        async def cycles(first: int = first, number: int = number) -> None:
            for cycle in range(first, first + number):
                cluster = await controller.user.create(workers)
                await controller.until_running((cycle + 1) * (workers + 1))
                await controller.stop([cluster])
                controller.deployment.agents.end(cluster.name.removeprefix("clusters/"))
                await controller.delete([cluster])

        figures = await controller.figures(cycles(), number)
        figures = {name.replace("per pod", "per cluster"): figure for name, figure in figures.items()}
        figures["s per cluster"] = figures.pop("s") / number
        figures |= await controller.left()
        figures["pods left"] = len(kubernetes.get("pods", "-n", namespace)["items"])
        rows.append(Row(f"{first + 1} to {first + number}", f"clusters of 1 scheduler and {workers} workers", figures))
        print(rows[-1], flush=True)
    return rows
