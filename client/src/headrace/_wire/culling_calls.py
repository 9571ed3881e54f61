"""The calls to CullingService, written once for the client and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace.v1 import cluster_pb2, cluster_service_pb2
from headrace.v1 import culling_service_pb2 as pb
from headrace.v1.culling_service_pb2_grpc import CullingServiceStub

if TYPE_CHECKING:
    from headrace.v1.culling_service_pb2_grpc import CullingServiceAsyncStub


async def keep(connection: Connection, cluster: str, seconds: float) -> cluster_pb2.Cluster:
    """Put culling of a cluster off for this time from now (KeepCluster)."""
    request = pb.KeepClusterRequest(name=await calls.resolve(connection, cluster))
    request.duration.FromMilliseconds(round(seconds * 1000))
    return await connection.call(_stub(connection).KeepCluster, request, doing=f"keeping cluster {cluster}")


async def culling(connection: Connection, filter_: cluster_service_pb2.ClusterFilter) -> list[pb.Culling]:
    """Return what culling would do to the living clusters that match, the earliest first (ListCulling)."""
    request = pb.ListCullingRequest(filter=filter_)
    answer = await connection.call(_stub(connection).ListCulling, request, doing="listing what culling would do")
    return list(answer.cullings)


async def cull(connection: Connection, cluster: str) -> cluster_pb2.Cluster:
    """Have culling do at once what it has warned of (CullCluster)."""
    request = pb.CullClusterRequest(name=await calls.resolve(connection, cluster))
    return await connection.call(_stub(connection).CullCluster, request, doing=f"culling cluster {cluster}")


def _stub(connection: Connection) -> CullingServiceAsyncStub:
    return cast("CullingServiceAsyncStub", CullingServiceStub(connection.channel))
