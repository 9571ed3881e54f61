"""What a `GatewayCluster` reads of its cluster: report, events, workers and logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from distributed.utils import Logs

from headrace._dask import logs
from headrace._dask.cluster_details import ClusterEvent, Worker
from headrace._dask.cluster_report import ClusterReport
from headrace._dask.faces import Asynchronous, TwoFaced, both_faces, both_iterators
from headrace._dask.lifecycle import Lifecycle
from headrace._wire import calls
from headrace.resource_names import cluster_name


class ClusterReading(TwoFaced[Asynchronous]):
    """The part of `GatewayCluster` that reads the cluster and changes nothing."""

    _life: Lifecycle

    @both_faces
    async def report(self) -> ClusterReport:
        """Report on the cluster: status, conditions, worker groups, reason of its end (GetCluster).

        The report has all changes that this object made or has seen. A change that another user made a moment ago may
        be missing; `Gateway.get_cluster` has it.
        """
        version = self._life.resource_version
        cluster = await calls.get_at_least(self._session.connection, cluster_name(self._life.name), version)
        return ClusterReport.from_proto(self._life.note(cluster), self._session.target, self._life.security)

    @both_faces
    async def events(self) -> list[ClusterEvent]:
        """Return the events of the cluster, oldest first; see `Gateway.events`."""
        return [
            ClusterEvent.from_proto(event) for event in await calls.events(self._session.connection, self._life.name)
        ]

    @both_faces
    async def workers(self) -> list[Worker]:
        """List the workers as headrace knows them, also those that have not joined; see `Gateway.workers`."""
        return [Worker.from_proto(worker) for worker in await calls.workers(self._session.connection, self._life.name)]

    @both_faces
    async def logs(self, process: str | None = None, tail: int | None = None) -> Logs:
        """Read the logs of the cluster's processes; see `Gateway.logs`."""
        return await logs.read(self._session.connection, self._life.name, process, tail)

    @both_iterators
    async def follow_logs(
        self, process: str | None = None, tail: int | None = None
    ) -> AsyncGenerator[tuple[str, str], None]:
        """Read logs and continue with lines that are written later; see `Gateway.follow_logs`."""
        async for piece in logs.stream(self._session.connection, self._life.name, process, tail, follow=True):
            yield piece
