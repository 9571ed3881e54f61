"""The calls behind `Gateway`: one coroutine for each thing that a user can ask for."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace._dask.options import Options
from headrace._dask.report import ClusterEvent, ClusterReport, ClusterStatus, User, Worker, enum_word
from headrace._target import config as _config
from headrace._wire.connection import Connection
from headrace.resource_names import cluster_name
from headrace.v1 import auth_service_pb2, cluster_pb2, cluster_service_pb2, options_service_pb2

if TYPE_CHECKING:
    from headrace._dask.security import GatewaySecurity

_ID = re.compile(r"c[a-z2-7]{19}")
_PAGE = 1000


async def find(connection: Connection, name: str) -> cluster_pb2.Cluster:
    """Returns the cluster of that id or alias."""
    request = cluster_service_pb2.GetClusterRequest(name=cluster_name(name if _ID.fullmatch(name) else f"~{name}"))
    return await connection.call(connection.clusters.GetCluster, request, doing=f"looking up cluster {name}")


async def resource(connection: Connection, name: str) -> str:
    """Returns clusters/{cluster} for an id or an alias; asks only for an alias."""
    return cluster_name(name) if _ID.fullmatch(name) else (await find(connection, name)).name


async def create(
    connection: Connection, spec: cluster_pb2.ClusterSpec, request_id: str | None = None
) -> cluster_pb2.Cluster:
    """Records a cluster."""
    request = cluster_service_pb2.CreateClusterRequest(spec=spec, request_id=request_id or uuid.uuid4().hex)
    return await connection.call(connection.clusters.CreateCluster, request, doing="creating a cluster")


async def list_clusters(
    connection: Connection, status: str | ClusterStatus | Sequence[str | ClusterStatus] | None
) -> list[ClusterReport]:
    """Returns reports of the caller's clusters, newest first."""
    chosen = [status] if isinstance(status, str | ClusterStatus) else status or ("pending", "running")
    phases = [phase for one in chosen for phase in ClusterStatus.from_name(one).phases]
    request = cluster_service_pb2.ListClustersRequest(phases=phases, page_size=_PAGE)
    reports: list[ClusterReport] = []
    while True:
        page = await connection.call(connection.clusters.ListClusters, request, doing="listing clusters")
        reports += [ClusterReport.of(cluster, connection.target, None) for cluster in page.clusters]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return reports


async def get_cluster(connection: Connection, name: str) -> ClusterReport:
    """Returns one cluster's report, with what it takes to connect."""
    cluster = await find(connection, name)
    return ClusterReport.of(cluster, connection.target, _security(connection, cluster))


async def stop(connection: Connection, name: str, timeout: float | None = None) -> None:
    """Ends a cluster."""
    request = cluster_service_pb2.StopClusterRequest(name=await resource(connection, name))
    doing = f"stopping cluster {name}"
    await connection.call(connection.clusters.StopCluster, request, doing=doing, timeout=timeout)


async def stop_all(connection: Connection) -> list[str]:
    """Ends all clusters of the caller; returns their ids."""
    request = cluster_service_pb2.StopAllClustersRequest()
    answer = await connection.call(connection.clusters.StopAllClusters, request, doing="stopping all clusters")
    return [name.partition("/")[2] for name in answer.names]


async def scale(connection: Connection, name: str, size: int, group: str) -> None:
    """Sets the wanted number of workers."""
    request = cluster_service_pb2.ScaleClusterRequest(name=await resource(connection, name), group=group, size=size)
    await connection.call(connection.clusters.ScaleCluster, request, doing=f"scaling cluster {name}")


async def adapt(connection: Connection, name: str, bounds: cluster_pb2.AdaptRange | None, group: str) -> None:
    """Lets the number of workers follow the load, or ends that."""
    request = cluster_service_pb2.AdaptClusterRequest(name=await resource(connection, name), group=group, adapt=bounds)
    await connection.call(connection.clusters.AdaptCluster, request, doing=f"adapting cluster {name}")


async def options(connection: Connection, *, use_local_defaults: bool) -> Options:
    """Returns the options of the deployment, with the values that are configured here."""
    request = options_service_pb2.ListOptionsRequest()
    answer = await connection.call(connection.options.ListOptions, request, doing="reading the options")
    found = Options(answer.options)
    if use_local_defaults:
        found.update(_config.get_mapping("cluster.options"))
    return found


async def events(connection: Connection, name: str) -> list[ClusterEvent]:
    """Returns what happened to a cluster, oldest first."""
    request = cluster_service_pb2.ListClusterEventsRequest(parent=await resource(connection, name), page_size=_PAGE)
    found: list[ClusterEvent] = []
    while True:
        doing = f"reading events of cluster {name}"
        page = await connection.call(connection.clusters.ListClusterEvents, request, doing=doing)
        found += map(ClusterEvent.of, page.events)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def workers(connection: Connection, name: str) -> list[Worker]:
    """Returns a cluster's workers, by name."""
    request = cluster_service_pb2.ListWorkersRequest(parent=await resource(connection, name), page_size=_PAGE)
    found: list[Worker] = []
    while True:
        doing = f"listing workers of cluster {name}"
        page = await connection.call(connection.clusters.ListWorkers, request, doing=doing)
        found += map(Worker.of, page.workers)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found


async def whoami(connection: Connection) -> User:
    """Returns who the caller is."""
    user = await connection.call(connection.auth.WhoAmI, auth_service_pb2.WhoAmIRequest(), doing="asking who you are")
    roles = tuple(enum_word(auth_service_pb2.Role.DESCRIPTOR, role, "ROLE_").lower() for role in user.roles)
    return User(user.name.partition("/")[2], tuple(user.groups), roles, user.method)


def _security(connection: Connection, cluster: cluster_pb2.Cluster) -> GatewaySecurity | None:
    from headrace._dask.security import GatewaySecurity, SchedulerAccess

    loop = asyncio.get_running_loop()
    return GatewaySecurity(SchedulerAccess(lambda: connection, loop, cluster.name.partition("/")[2]))
