"""How many pods of one cluster are asked for at a time. The API server is one that waits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.backends.kubernetes.pods import recorded
from tests.backends.kubernetes.served import served

from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.connecting import connect
from headrace_backend_kubernetes.pace import SHARE
from headrace_backend_kubernetes.pod_table import PodTable
from headrace_backend_kubernetes.seals import PodSeals
from headrace_backend_kubernetes.starting import Starting
from headrace_controller.backends.process import ProcessKey


class SlowServer:
    """Accepts pods, those of a cluster only once it is released."""

    def __init__(self, held: str) -> None:
        self.asked: list[str] = []
        self.arrived = asyncio.Condition()
        self.released = asyncio.Event()
        self._held = held

    async def handle(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        name: str = body["metadata"]["name"]
        async with self.arrived:
            self.asked.append(name)
            self.arrived.notify_all()
        if name.startswith(self._held):
            await self.released.wait()
        pod = recorded("runs")
        pod["metadata"] |= {"name": name, "uid": name, "resourceVersion": str(len(self.asked))}
        return web.json_response(pod)

    async def until_asked(self, number: int) -> None:
        async with asyncio.timeout(30), self.arrived:
            await self.arrived.wait_for(lambda: len(self.asked) >= number)


def pods(cluster: str, number: int) -> list[tuple[ProcessKey, dict[str, Any]]]:
    return [
        (ProcessKey(cluster, f"w-{i}"), {"metadata": {"name": f"{cluster}-{i}", "namespace": "ns"}})
        for i in range(number)
    ]


async def test_many_pods_of_one_cluster_leave_room_for_those_of_others(tmp_path: Path) -> None:
    server = SlowServer(held="large")
    async with served(server.handle, tmp_path) as kubeconfig:
        api = await connect(Settings(kubeconfig=kubeconfig, namespace="ns"))
        try:
            starting = Starting(api, PodTable(remembered=10), PodSeals((b"key",), "d"))
            large = asyncio.create_task(starting.start(pods("large", 3 * SHARE)))
            await server.until_asked(SHARE)
            await starting.start(pods("small", 1))
            assert len(server.asked) == SHARE + 1
            server.released.set()
            await large
            assert len(server.asked) == 3 * SHARE + 1
        finally:
            server.released.set()
            await api.close()
