"""A user with stubs, as tests call the public API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf.field_mask_pb2 import FieldMask
from tests.controller.stubs import limits_service

from headrace.option_protos import value_to_proto
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.culling_service_pb2_grpc import CullingServiceStub

if TYPE_CHECKING:
    from headrace.v1.cluster_service_pb2_grpc import ClusterServiceAsyncStub
    from headrace.v1.options_service_pb2_grpc import OptionsServiceAsyncStub

_SECONDS = 60.0  # for a call; a slow machine is no fault of the controller


@dataclass(frozen=True)
class User:
    """Somebody who has logged in."""

    name: str
    stub: ClusterServiceAsyncStub
    options_stub: OptionsServiceAsyncStub
    metadata: tuple[tuple[str, str], ...]
    channel: grpc.aio.Channel

    async def call(self, method: str, request: Any, **arguments: Any) -> Any:
        return await getattr(self.stub, method)(request, metadata=self.metadata, timeout=_SECONDS, **arguments)

    def stream(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, metadata=self.metadata)

    async def ask_culling(self, method: str, request: Any) -> Any:
        return await getattr(CullingServiceStub(self.channel), method)(
            request, metadata=self.metadata, timeout=_SECONDS
        )

    async def ask_limits(self, request: Any, method: str = "GetLimits") -> Any:
        return await getattr(limits_service(self.channel), method)(request, metadata=self.metadata, timeout=_SECONDS)

    async def ask_options(self, method: str, request: Any) -> Any:
        return await getattr(self.options_stub, method)(request, metadata=self.metadata, timeout=_SECONDS)

    async def create(
        self, options: Mapping[str, object] | None = None, *, request: Mapping[str, Any] | None = None, **spec: Any
    ) -> cluster_pb2.Cluster:
        """Create a cluster; `request` are fields of the request besides its spec."""
        values = {key: value_to_proto(value) for key, value in (options or {}).items()}
        message = cluster_pb2.ClusterSpec(options=values, **spec)
        return await self.call("CreateCluster", pb.CreateClusterRequest(spec=message, **(request or {})))

    async def get(self, name: str, **fields: Any) -> cluster_pb2.Cluster:
        return await self.call("GetCluster", pb.GetClusterRequest(name=name, **fields))

    async def scale(self, name: str, size: int, **fields: Any) -> cluster_pb2.Cluster:
        return await self.call("ScaleCluster", pb.ScaleClusterRequest(name=name, size=size, **fields))

    async def adapt(self, name: str, adapt: cluster_pb2.AdaptRange | None, **fields: Any) -> cluster_pb2.Cluster:
        return await self.call("AdaptCluster", pb.AdaptClusterRequest(name=name, adapt=adapt, **fields))

    async def update(self, name: str, *paths: str, etag: str = "", **fields: Any) -> cluster_pb2.Cluster:
        message = cluster_pb2.Cluster(name=name, etag=etag, **fields)
        request = pb.UpdateClusterRequest(cluster=message, update_mask=FieldMask(paths=paths))
        return await self.call("UpdateCluster", request)

    async def stop(self, name: str) -> cluster_pb2.Cluster:
        return await self.call("StopCluster", pb.StopClusterRequest(name=name))

    async def delete(self, name: str) -> None:
        await self.call("DeleteCluster", pb.DeleteClusterRequest(name=name))

    async def until(
        self, name: str, phase: str, *, running: int | None = None, within: float = 60.0
    ) -> cluster_pb2.Cluster:
        """Watch a cluster until it is in a phase, with that number of running workers."""
        wanted = cluster_pb2.Phase.Value(f"PHASE_{phase}")
        seen = cluster_pb2.Cluster()
        call = self.stream("WatchClusters", pb.WatchClustersRequest(name=name, view=pb.CLUSTER_VIEW_FULL))
        try:
            async with asyncio.timeout(within):
                async for response in call:
                    seen = response.cluster if response.HasField("cluster") else seen
                    count = sum(group.running for group in seen.status.worker_groups)
                    if seen.status.phase == wanted and running in {None, count}:
                        return seen
        except TimeoutError:
            raise AssertionError(f"not {phase} with {running} workers within {within} s: {seen}") from None
        finally:
            call.cancel()
        raise AssertionError("the watch has ended")
