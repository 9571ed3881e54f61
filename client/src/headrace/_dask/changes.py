"""Changes of a cluster: sizes, tags, lifetime, shares, and worker groups added and removed (UpdateCluster)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping

from headrace._dask import specification
from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace._wire.rewriting import rewrite
from headrace.access import Share
from headrace.errors import GatewayWarning, GroupNotFound, InvalidRequest, Violation
from headrace.v1 import cluster_pb2

Groups = list[cluster_pb2.WorkerGroup]


async def scale(connection: Connection, cluster: str, size: int, group: str) -> cluster_pb2.Cluster:
    """Set the number of workers of a group, and warn if limits allow less."""
    changed = await calls.scale(connection, cluster, size, group)
    _warn(calls.clipped(changed, group, size))
    return changed


async def adapt(
    connection: Connection, cluster: str, bounds: cluster_pb2.AdaptRange | None, group: str
) -> cluster_pb2.Cluster:
    """Start, change or end adaptive scaling of a group, and warn if limits allow less."""
    changed = await calls.adapt(connection, cluster, bounds, group)
    _warn(calls.clipped(changed, group, bounds))
    return changed


async def update(
    connection: Connection,
    cluster: str,
    *,
    tags: Mapping[str, str] | None,
    lifetime: specification.Lifetime | None,
    shares: Iterable[Share] | None,
) -> cluster_pb2.Cluster:
    """Replace what is given. None means unchanged; a lifetime of infinity means no maximum."""
    changed, paths = cluster_pb2.Cluster(), list[str]()
    if tags is not None:
        changed.spec.tags.update(tags)
        paths.append("spec.tags")
    if lifetime is not None:
        if (duration := specification.to_duration(lifetime)) is not None:
            changed.spec.lifetime.CopyFrom(duration)
        paths.append("spec.lifetime")
    if shares is not None:
        changed.shares.extend(specification.to_proto_share(share) for share in shares)
        paths.append("shares")
    if not paths:
        return await calls.find(connection, cluster)
    changed.name = await calls.resolve(connection, cluster)
    return await calls.update(connection, changed, paths)


async def add_worker_group(connection: Connection, cluster: str, group: cluster_pb2.WorkerGroup) -> cluster_pb2.Cluster:
    """Add a worker group."""

    def add(groups: Groups) -> Groups:
        if any(existing.name == group.name for existing in groups):
            description = f"cluster {cluster} already has a worker group {group.name!r}"
            raise InvalidRequest.of(Violation("group", description))
        return [*groups, group]

    return await _change_groups(connection, cluster, add)


async def remove_worker_group(connection: Connection, cluster: str, group: str) -> cluster_pb2.Cluster:
    """Remove a worker group with its workers."""

    def remove(groups: Groups) -> Groups:
        kept = [existing for existing in groups if existing.name != group]
        if len(kept) == len(groups):
            raise GroupNotFound(f"cluster {cluster} has no worker group {group!r}")
        return kept

    return await _change_groups(connection, cluster, remove)


def _warn(sentence: str) -> None:
    if sentence:
        warnings.warn(f"{sentence}; its events name the limit", GatewayWarning, stacklevel=2)


async def _change_groups(
    connection: Connection, cluster: str, change: Callable[[Groups], Groups]
) -> cluster_pb2.Cluster:
    def write(existing: cluster_pb2.Cluster, changed: cluster_pb2.Cluster) -> None:
        changed.spec.worker_groups.extend(change(list(existing.spec.worker_groups)))

    return await rewrite(connection, cluster, "spec.worker_groups", write)
