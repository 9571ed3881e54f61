"""A cluster of the fake headrace: a real Dask scheduler with real workers, on one event loop for all of them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from distributed import Scheduler, Security, Worker

from headrace._resumable.listening import ResumableTLSBackend, SessionTable
from headrace.agent import worker_status
from headrace.v1 import cluster_pb2
from headrace_chassis.tls.certificates import Authority, Leaf

DAY = timedelta(days=1)
LIVING = {
    cluster_pb2.PHASE_QUEUED,
    cluster_pb2.PHASE_STARTING,
    cluster_pb2.PHASE_RUNNING,
    cluster_pb2.PHASE_STOPPING,
}


class FakeCluster:
    """A cluster's record with, once started, the Dask behind it."""

    def __init__(self, cluster_id: str, owner: str, spec: cluster_pb2.ClusterSpec) -> None:
        self.id = cluster_id
        self.authority = Authority.create(f"cluster {cluster_id}", DAY)
        self.server_name = f"{cluster_id}.clusters.headrace.internal"
        self.certificates_issued = 0
        self.request_id = ""
        self.events: list[cluster_pb2.ClusterEvent] = []
        self.room = 1000  # workers of each group for which limits leave room
        self.waits_for = ""  # what all workers wait for; empty: they run
        self.record = cluster_pb2.Cluster(name=f"clusters/{cluster_id}", owner=owner, spec=spec)
        self.record.create_time.GetCurrentTime()
        self.record.status.phase = cluster_pb2.PHASE_STARTING
        self.record.status.conditions.add(
            type=cluster_pb2.CONDITION_TYPE_REACHABLE,
            status=cluster_pb2.CONDITION_STATUS_UNKNOWN,
            reason="AgentAway",
            message="The scheduler's agent has not connected yet.",
        )
        if not self.record.spec.worker_groups:
            self.record.spec.worker_groups.add(name="default")
        self.changed(spec=True)
        self.port = 0
        # Clients' connections outlive their TCP connections for so long. 0: an agent of before listens.
        self.grace = 60.0
        self._security = self._make_security()
        self.scheduler: Any = None
        self.workers: list[Any] = []
        self._lock = asyncio.Lock()

    @property
    def version(self) -> int:
        return int(self.record.resource_version)

    @property
    def lives(self) -> bool:
        return self.record.status.phase in LIVING

    def changed(self, *, spec: bool = False) -> None:
        """Gives the record a new version, and with `spec` a new generation."""
        record = self.record
        record.resource_version = str(int(record.resource_version or 0) + 1)
        if spec:
            record.generation += 1
            record.etag = str(record.generation)
        del record.status.worker_groups[:]
        record.status.worker_groups.extend(
            cluster_pb2.WorkerGroupStatus(name=group.name, desired=size, running=size)
            for group in record.spec.worker_groups
            for size in [min(group.size, self.room)]
        )

    def add_event(
        self, type_: cluster_pb2.EventType.ValueType, message: str, severity: cluster_pb2.Severity.ValueType
    ) -> None:
        event = cluster_pb2.ClusterEvent(
            name=f"{self.record.name}/events/{len(self.events):06}", type=type_, severity=severity, message=message
        )
        event.time.GetCurrentTime()
        self.events.append(event)

    def issue(self, seconds: float) -> Leaf:
        self.certificates_issued += 1
        return self.authority.issue("client", timedelta(seconds=seconds))

    async def start(self) -> None:
        async with self._lock:
            if not self.record.spec.stop:
                self.scheduler = await Scheduler(
                    protocol="tls", security=self._security, host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0"
                )
                worker_status.serve_many(self.scheduler)
                self.port = int(self.scheduler.address.rpartition(":")[2])
                if self.grace:
                    await self._listen(SessionTable(self.grace))

    async def follow(self) -> None:
        """Has as many workers as the record wants."""
        async with self._lock:
            wanted = sum(group.desired for group in self.record.status.worker_groups)
            while self.scheduler is not None and len(self.workers) != wanted and not self.waits_for:
                if len(self.workers) > wanted:
                    await self.workers.pop().close()
                else:
                    self.workers.append(await self._new_worker())

    async def move(self) -> None:
        """Listens at another port, no longer at the present one, and breaks its connections."""
        self._sessions.stop()
        for kept in self._table._sessions.values():
            if (transport := kept.session._transport) is not None:
                kept.session._break(transport, "moved")
        await self._listen(self._table)

    async def stop(self) -> None:
        async with self._lock:
            for worker in self.workers:
                await worker.close()
            if self.scheduler is not None:
                await self.scheduler.close()
            self.scheduler, self.workers = None, []

    async def _listen(self, table: SessionTable) -> None:
        """Takes clients' sessions beside the listener for workers."""
        arguments = self._security.get_listen_args("scheduler")
        scheduler, backend = self.scheduler, ResumableTLSBackend(table)
        listener = backend.get_listener("127.0.0.1:0", scheduler.handle_comm, scheduler.deserialize, **arguments)
        self._table, self._sessions = table, listener
        await self._sessions.start()
        scheduler.listeners.append(self._sessions)
        self.port = int(self._sessions.listen_address.rpartition(":")[2])

    async def _new_worker(self) -> Any:
        address = self.scheduler.address
        return await Worker(address, security=self._security, nthreads=1, dashboard_address="127.0.0.1:0")

    def _make_security(self) -> Security:
        leaf = self.authority.issue("dask", DAY)
        pems = {"cert": leaf.cert_pem.decode(), "key": leaf.key_pem.decode()}
        roles = {f"tls_{role}_{kind}": pem for role in ("scheduler", "worker", "client") for kind, pem in pems.items()}
        return Security(tls_ca_file=self.authority.cert_pem.decode(), require_encryption=True, **roles)
