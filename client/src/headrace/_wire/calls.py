"""The calls to ClusterService and OptionsService, written once for the client and the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from headrace._wire.connection import Connection
from headrace.resource_names import cluster_name, is_cluster_id, user_name
from headrace.v1 import cluster_pb2, cluster_service_pb2, options_service_pb2

if TYPE_CHECKING:
    from headrace.v1.cluster_pb2 import Phase

LIVING = (
    cluster_pb2.PHASE_QUEUED,
    cluster_pb2.PHASE_STARTING,
    cluster_pb2.PHASE_RUNNING,
    cluster_pb2.PHASE_STOPPING,
)
ENDED = (cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_FAILED)

_MAX_NAMES = 1000


def cluster_id(name: str) -> str:
    """Return the id of ``clusters/{cluster}``."""
    return name.removeprefix("clusters/")


async def find(connection: Connection, cluster: str) -> cluster_pb2.Cluster:
    """Return a cluster by its id, ``clusters/{id}``, alias or ``{owner}/{alias}`` (GetCluster).

    It has every change acknowledged before.
    """
    cluster = cluster_id(cluster)
    alias = cluster.removeprefix("~").replace("/", ":", 1)  # no user id has a slash
    name = cluster_name(cluster if is_cluster_id(cluster) else f"~{alias}")
    request = cluster_service_pb2.GetClusterRequest(name=name)
    return await connection.call(connection.clusters.GetCluster, request, doing=f"looking up cluster {cluster}")


async def get_at_least(connection: Connection, name: str, resource_version: str) -> cluster_pb2.Cluster:
    """Return a cluster that is at least as new as this version (GetCluster). The server may answer from its cache."""
    request = cluster_service_pb2.GetClusterRequest(name=name, resource_version=resource_version)
    return await connection.call(connection.clusters.GetCluster, request, doing=f"looking up {name}")


async def resolve(connection: Connection, cluster: str) -> str:
    """Return ``clusters/{cluster}`` of an id or alias. Only an alias needs a call.

    What changes a cluster is never retried by alias: meanwhile another cluster could have it.
    """
    if is_cluster_id(cluster_id(cluster)):
        return cluster_name(cluster_id(cluster))
    return (await find(connection, cluster)).name


def cluster_filter(
    *,
    owner: str = "",
    phases: Iterable[Phase.ValueType] = (),
    tags: Mapping[str, str] | None = None,
    profile: str = "",
    shared: bool = False,
) -> cluster_service_pb2.ClusterFilter:
    """Return a filter. `owner` is a user id or "-" for all users; by default the caller.

    With `shared`, it also has what the caller may see of others, or stop.
    """
    owner = user_name(owner.removeprefix("users/")) if owner else ""
    return cluster_service_pb2.ClusterFilter(
        owner=owner, phases=phases, tags=tags or {}, profile=profile, include_shared=shared
    )


async def list_clusters(
    connection: Connection, filter_: cluster_service_pb2.ClusterFilter, *, full: bool = False
) -> list[cluster_pb2.Cluster]:
    """Return all clusters that match, newest first (ListClusters)."""
    view = cluster_service_pb2.CLUSTER_VIEW_FULL if full else cluster_service_pb2.CLUSTER_VIEW_BASIC
    request = cluster_service_pb2.ListClustersRequest(filter=filter_, view=view)
    pages = connection.pages(connection.clusters.ListClusters, request, doing="listing clusters")
    return [cluster async for page in pages for cluster in page.clusters]


async def scale(connection: Connection, cluster: str, size: int, group: str) -> cluster_pb2.Cluster:
    """Set the number of workers of a group (ScaleCluster)."""
    name = await resolve(connection, cluster)
    request = cluster_service_pb2.ScaleClusterRequest(name=name, group=group, size=size)
    return await connection.call(connection.clusters.ScaleCluster, request, doing=f"scaling cluster {cluster}")


async def adapt(
    connection: Connection, cluster: str, bounds: cluster_pb2.AdaptRange | None, group: str
) -> cluster_pb2.Cluster:
    """Start or change adaptive scaling of a group, or end it without `bounds` (AdaptCluster)."""
    name = await resolve(connection, cluster)
    request = cluster_service_pb2.AdaptClusterRequest(name=name, group=group, adapt=bounds)
    return await connection.call(connection.clusters.AdaptCluster, request, doing=f"adapting cluster {cluster}")


def clipped(cluster: cluster_pb2.Cluster, group: str, asked: int | cluster_pb2.AdaptRange | None) -> str:
    """Return a sentence if limits allowed less than the size or the range that was asked for, else ""."""
    found = next((one for one in cluster.spec.worker_groups if one.name == group), None)
    if found is None or asked is None:
        return ""
    name = cluster_id(cluster.name)
    has = next((one.desired for one in cluster.status.worker_groups if one.name == group), found.size)
    if isinstance(asked, int) and has < found.size == asked:
        return f"cluster {name} gets {has} of {asked} workers in group {group!r} now; the others wait for room"
    if isinstance(asked, int):
        before, after = f"{asked} workers", f"{found.size}"
        is_less = found.size < asked
    else:
        before, after = _range(asked), _range(found.adapt)
        is_less = found.adapt.minimum < asked.minimum or (
            asked.HasField("maximum") and found.adapt.maximum < asked.maximum
        )
    if not is_less:
        return ""
    return f"cluster {name} gets {after} instead of {before} in group {group!r}, since limits allow no more"


def waiting_workers(cluster: cluster_pb2.Cluster) -> int:
    """Return how many workers of groups of fixed size wait for room."""
    desired = {status.name: status.desired for status in cluster.status.worker_groups}
    groups = (group for group in cluster.spec.worker_groups if not group.HasField("adapt"))
    return sum(max(0, group.size - desired.get(group.name, group.size)) for group in groups)


def _range(adapt: cluster_pb2.AdaptRange) -> str:
    return f"{adapt.minimum} to {adapt.maximum if adapt.HasField('maximum') else 'any number of'} workers"


async def update(connection: Connection, cluster: cluster_pb2.Cluster, paths: Sequence[str]) -> cluster_pb2.Cluster:
    """Write the fields at `paths` of a cluster (UpdateCluster)."""
    request = cluster_service_pb2.UpdateClusterRequest(cluster=cluster)
    request.update_mask.paths.extend(paths)
    doing = f"changing cluster {cluster_id(cluster.name)}"
    return await connection.call(connection.clusters.UpdateCluster, request, doing=doing)


async def stop(connection: Connection, cluster: str, timeout: float | None = None) -> cluster_pb2.Cluster:
    """Stop a cluster (StopCluster)."""
    request = cluster_service_pb2.StopClusterRequest(name=await resolve(connection, cluster))
    doing = f"stopping cluster {cluster}"
    return await connection.call(connection.clusters.StopCluster, request, doing=doing, timeout=timeout)


async def stop_matching(
    connection: Connection, filter_: cluster_service_pb2.ClusterFilter
) -> cluster_service_pb2.BatchStopClustersResponse:
    """Stop all living clusters that match (BatchStopClusters)."""
    request = cluster_service_pb2.BatchStopClustersRequest(filter=filter_)
    return await connection.call(connection.clusters.BatchStopClusters, request, doing="stopping clusters")


async def stop_many(connection: Connection, names: Sequence[str]) -> cluster_service_pb2.BatchStopClustersResponse:
    """Stop the clusters with these resource names (BatchStopClusters)."""
    stopped = cluster_service_pb2.BatchStopClustersResponse()
    for first in range(0, len(names), _MAX_NAMES):
        request = cluster_service_pb2.BatchStopClustersRequest(names=names[first : first + _MAX_NAMES])
        stopped.MergeFrom(
            await connection.call(connection.clusters.BatchStopClusters, request, doing="stopping clusters")
        )
    return stopped


async def delete(connection: Connection, cluster: str) -> None:
    """Delete the record of an ended cluster (DeleteCluster)."""
    request = cluster_service_pb2.DeleteClusterRequest(name=await resolve(connection, cluster))
    await connection.call(connection.clusters.DeleteCluster, request, doing=f"deleting cluster {cluster}")


async def connect(connection: Connection, cluster: str) -> cluster_service_pb2.ConnectClusterResponse:
    """Return addresses and certificates for a scheduler (ConnectCluster)."""
    request = cluster_service_pb2.ConnectClusterRequest(name=await resolve(connection, cluster))
    doing = f"connecting to cluster {cluster}"
    return await connection.call(connection.clusters.ConnectCluster, request, doing=doing)


async def events(connection: Connection, cluster: str) -> list[cluster_pb2.ClusterEvent]:
    """Return the events of a cluster, oldest first (ListClusterEvents)."""
    request = cluster_service_pb2.ListClusterEventsRequest(parent=await resolve(connection, cluster))
    doing = f"reading events of cluster {cluster}"
    pages = connection.pages(connection.clusters.ListClusterEvents, request, doing=doing)
    return [event async for page in pages for event in page.cluster_events]


async def workers(connection: Connection, cluster: str) -> list[cluster_pb2.Worker]:
    """Return the workers of a cluster, by name (ListWorkers)."""
    request = cluster_service_pb2.ListWorkersRequest(parent=await resolve(connection, cluster))
    doing = f"listing workers of cluster {cluster}"
    pages = connection.pages(connection.clusters.ListWorkers, request, doing=doing)
    return [worker async for page in pages for worker in page.workers]


async def profiles(connection: Connection) -> list[options_service_pb2.Profile]:
    """Return the profiles that the caller may choose (ListProfiles)."""
    request = options_service_pb2.ListProfilesRequest()
    answer = await connection.call(connection.options.ListProfiles, request, doing="listing profiles")
    return list(answer.profiles)


async def options(connection: Connection, profile: str = "") -> list[options_service_pb2.Option]:
    """Return the options of a profile, by default of the default one (ListOptions)."""
    request = options_service_pb2.ListOptionsRequest(profile=profile)
    answer = await connection.call(connection.options.ListOptions, request, doing="listing options")
    return list(answer.options)
