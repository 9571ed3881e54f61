"""What a `Gateway` reads of clusters: lists, reports, events, workers and logs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping

from distributed.utils import Logs

from headrace._dask import logs
from headrace._dask.cluster_details import ClusterEvent, Worker
from headrace._dask.cluster_report import ClusterReport, ClusterStatus, to_phases
from headrace._dask.faces import Asynchronous, TwoFaced, both_faces, both_iterators
from headrace._dask.scheduler_access import SchedulerAccess
from headrace._dask.security import GatewaySecurity
from headrace._wire import calls


class GatewayReading(TwoFaced[Asynchronous]):
    """The part of `Gateway` that reads clusters and changes nothing."""

    @both_faces
    async def list_clusters(
        self,
        status: str | ClusterStatus | Iterable[str | ClusterStatus] | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        profile: str | None = None,
        full: bool = False,
        shared: bool = False,
    ) -> list[ClusterReport]:
        """List your clusters, newest first (ListClusters).

        Parameters
        ----------
        status
            Only those that are "pending", "running", "stopping", "stopped" or "failed"; one or several.
            Default: pending and running.
        tags
            Only those with all of these tags.
        profile
            Only those of this profile.
        full
            Whether reports have options, conditions, versions and the tails of logs. `get_cluster` always does.
        shared
            Whether to list also those of others that you may see: shared with you or a group of yours, or of a group
            that you operate. Their `owner` says whose they are.

        Raises
        ------
        InvalidRequest
            There is no such status.
        """
        filter_ = calls.cluster_filter(phases=to_phases(status), tags=tags, profile=profile or "", shared=shared)
        found = await calls.list_clusters(self._session.connection, filter_, full=full)
        return [ClusterReport.from_proto(cluster, self._session.target) for cluster in found]

    @both_faces
    async def get_cluster(self, cluster_name: str) -> ClusterReport:
        """Report on a cluster, also for some time after its end (GetCluster).

        Parameters
        ----------
        cluster_name
            Its id, or the name that you gave to a living one.

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        """
        connection = self._session.connection
        cluster = await calls.find(connection, cluster_name)
        access = SchedulerAccess(
            lambda: connection,
            self._session.asyncio_loop,
            calls.cluster_id(cluster.name),
            mode=self._session.target.connect,
        )
        return ClusterReport.from_proto(cluster, self._session.target, GatewaySecurity(access))

    @both_faces
    async def events(self, cluster_name: str) -> list[ClusterEvent]:
        """Return the events of a cluster, oldest first, also after its end (ListClusterEvents).

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        """
        found = await calls.events(self._session.connection, cluster_name)
        return [ClusterEvent.from_proto(event) for event in found]

    @both_faces
    async def workers(self, cluster_name: str) -> list[Worker]:
        """List the workers of a cluster, also those that have not joined its scheduler (ListWorkers).

        Raises
        ------
        ClusterNotFound
            There is no such cluster that you may see.
        """
        return [Worker.from_proto(worker) for worker in await calls.workers(self._session.connection, cluster_name)]

    @both_faces
    async def logs(self, cluster_name: str, process: str | None = None, tail: int | None = None) -> Logs:
        """Read the logs of a cluster's processes, also after their end (ReadLogs).

        Parameters
        ----------
        cluster_name
            Id or name of the cluster.
        process
            "scheduler" or the id of a worker. Default: all processes.
        tail
            Number of last lines of each process to read. Default: all lines that are kept.

        Returns
        -------
        distributed.utils.Logs
            From process to text, with a view for notebooks.

        Raises
        ------
        ClusterNotFound, WorkerNotFound
            There is no such cluster that you may see, or it has no such process.
        InvalidRequest
            `tail` is less than 1.
        """
        return await logs.read(self._session.connection, cluster_name, process, tail)

    @both_iterators
    async def follow_logs(
        self, cluster_name: str, process: str | None = None, tail: int | None = None
    ) -> AsyncGenerator[tuple[str, str], None]:
        """Read logs and continue with lines that are written later, until the cluster has ended (ReadLogs).

        Parameters and errors are those of `logs`.

        Yields
        ------
        (str, str)
            Process and lines. With ``asynchronous=True`` the iterator is asynchronous.
        """
        async for piece in logs.stream(self._session.connection, cluster_name, process, tail, follow=True):
            yield piece
