"""Waiting for a cluster while telling what it waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from headrace._wire.connection import Connection
from headrace.cli.cluster_view import ENDED, cluster_id
from headrace.errors import ClusterFailed, GatewayClusterError
from headrace.v1 import cluster_pb2, cluster_service_pb2


async def watch(connection: Connection, name: str) -> AsyncIterator[cluster_service_pb2.WatchClustersResponse]:
    """Streams states and events of one cluster."""
    request = cluster_service_pb2.WatchClustersRequest(name=name, include_events=True)
    async for step in connection.stream(connection.clusters.WatchClusters, request, doing=f"watching {name}"):
        yield step


async def wait_until_running(
    connection: Connection, name: str, tell: Callable[[cluster_pb2.ClusterEvent], None]
) -> cluster_pb2.Cluster:
    """Returns the cluster when it is usable; raises if it ends before that."""
    async for step in watch(connection, name):
        if step.HasField("event"):
            tell(step.event)
        if step.HasField("cluster"):
            if step.cluster.status.phase == cluster_pb2.PHASE_RUNNING:
                return step.cluster
            _raise_if_ended(step.cluster)
    raise GatewayClusterError(f"the watch of {name} ended; look again with `headrace clusters list`")


async def wait_until_ended(connection: Connection, name: str) -> cluster_pb2.Cluster:
    """Returns the cluster when nothing of it runs any more."""
    async for step in watch(connection, name):
        if step.cluster.status.phase in ENDED:
            return step.cluster
    raise GatewayClusterError(f"the watch of {name} ended; look again with `headrace clusters list`")


def _raise_if_ended(cluster: cluster_pb2.Cluster) -> None:
    if cluster.status.phase in ENDED:
        reason = cluster_pb2.EndReason.Name(cluster.status.reason).removeprefix("END_REASON_")
        message = cluster.status.message or "it gave no reason"
        raise ClusterFailed(
            f"cluster {cluster_id(cluster)} ended before it could be used: {message}",
            {"reason": reason},
            log_tail=cluster.status.log_tail,
        )
