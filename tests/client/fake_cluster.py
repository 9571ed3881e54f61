"""A cluster of the fake headrace: a real Dask scheduler with real workers, in threads of the test's own process."""

from __future__ import annotations

import threading
from datetime import timedelta

from distributed import LocalCluster, Security
from headrace.v1 import cluster_pb2
from headrace_chassis.certificates import Authority, Leaf

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
        self._dask: LocalCluster | None = None
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        assert self._dask is not None
        return int(self._dask.scheduler_address.rpartition(":")[2])

    @property
    def workers(self) -> int:
        return sum(group.size for group in self.record.spec.worker_groups)

    def issue(self) -> Leaf:
        self.certificates_issued += 1
        return self.authority.issue("client", DAY)

    def start(self) -> None:
        leaf = self.authority.issue("dask", DAY)
        ca, cert, key = self.authority.cert_pem.decode(), leaf.cert_pem.decode(), leaf.key_pem.decode()
        roles = {f"tls_{role}_cert": cert for role in ("scheduler", "worker", "client")}
        roles |= {f"tls_{role}_key": key for role in ("scheduler", "worker", "client")}
        security = Security(tls_ca_file=ca, require_encryption=True, **roles)
        self._dask = LocalCluster(
            n_workers=0, processes=False, protocol="tls", security=security, dashboard_address=None, threads_per_worker=1
        )

    def follow(self) -> None:
        """Has as many workers as the record wants."""
        with self._lock:
            if self._dask is not None:
                self._dask.scale(self.workers)

    def stop(self) -> None:
        with self._lock:
            dask, self._dask = self._dask, None
        if dask is not None:
            dask.close()
