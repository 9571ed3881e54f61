"""A cluster of the fake headrace: a real Dask scheduler with real workers, on one event loop for all of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from distributed import Scheduler, Security, Worker

from headrace.v1 import cluster_pb2
from headrace_chassis.tls.certificates import Authority, Leaf

DAY = timedelta(days=1)


class FakeCluster:
    """A cluster's record with, once started, the Dask behind it."""

    def __init__(self, cluster_id: str, owner: str, spec: cluster_pb2.ClusterSpec) -> None:
        self.id = cluster_id
        self.authority = Authority.create(f"cluster {cluster_id}", DAY)
        self.server_name = f"{cluster_id}.clusters.headrace.internal"
        self.certificates_issued = 0
        self.request_id = ""
        self.events: list[cluster_pb2.ClusterEvent] = []
        self.record = cluster_pb2.Cluster(name=f"clusters/{cluster_id}", owner=owner, spec=spec, generation=1)
        self.record.create_time.GetCurrentTime()
        self.record.status.phase = cluster_pb2.PHASE_STARTING
        if not self.record.spec.worker_groups:
            self.record.spec.worker_groups.add(name="default")
        self.port = 0
        self._security = self._make_security()
        self._scheduler: Any = None
        self._workers: list[Any] = []
        self._lock = asyncio.Lock()

    def issue(self) -> Leaf:
        self.certificates_issued += 1
        return self.authority.issue("client", DAY)

    async def start(self) -> None:
        async with self._lock:
            if not self.record.spec.stop:
                self._scheduler = await Scheduler(
                    protocol="tls", security=self._security, host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0"
                )
                self.port = int(self._scheduler.address.rpartition(":")[2])

    async def follow(self) -> None:
        """Has as many workers as the record wants."""
        async with self._lock:
            wanted = sum(group.size for group in self.record.spec.worker_groups)
            while self._scheduler is not None and len(self._workers) != wanted:
                if len(self._workers) > wanted:
                    await self._workers.pop().close()
                else:
                    self._workers.append(await self._new_worker())

    async def stop(self) -> None:
        async with self._lock:
            for worker in self._workers:
                await worker.close()
            if self._scheduler is not None:
                await self._scheduler.close()
            self._scheduler, self._workers = None, []

    async def _new_worker(self) -> Any:
        address = self._scheduler.address
        return await Worker(address, security=self._security, nthreads=1, dashboard_address="127.0.0.1:0")

    def _make_security(self) -> Security:
        leaf = self.authority.issue("dask", DAY)
        pems = {"cert": leaf.cert_pem.decode(), "key": leaf.key_pem.decode()}
        roles = {f"tls_{role}_{kind}": pem for role in ("scheduler", "worker", "client") for kind, pem in pems.items()}
        return Security(tls_ca_file=self.authority.cert_pem.decode(), require_encryption=True, **roles)
