"""ClusterService: checks the request, calls one function, converts the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import grpc.aio
from typing_extensions import override

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace.v1.cluster_service_pb2_grpc import ClusterServiceServicer, add_ClusterServiceServicer_to_server
from headrace_chassis.identity.caller import current_caller
from headrace_controller.api import requests, updates
from headrace_controller.api.access import ClusterAccess
from headrace_controller.api.batch_stop import BatchStop
from headrace_controller.api.commands import ClusterCommands, Target
from headrace_controller.api.connecting import Connecting
from headrace_controller.api.listing import Listing
from headrace_controller.api.log_reading import LogReading
from headrace_controller.api.views import Views
from headrace_controller.api.watching import Watching
from headrace_controller.profiles import Profiles

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, kw_only=True)
class ClusterService(ClusterServiceServicer):
    """Lifecycle of Dask clusters."""

    profiles: Profiles
    access: ClusterAccess
    commands: ClusterCommands
    batch_stop: BatchStop
    views: Views
    listing: Listing
    watching: Watching
    connecting: Connecting
    logs: LogReading

    @override
    async def CreateCluster(self, request: pb.CreateClusterRequest, context: Context) -> cluster_pb2.Cluster:
        caller = current_caller()
        owner = self.commands.owner_of(request, caller)
        profile = requests.choose_profile(self.profiles, request.spec.profile, owner, caller, "spec.profile")
        checked = await profile.use(owner, lambda offered: requests.new_cluster(request, profile.key, offered))
        return self.views.get(await self.commands.create(checked, owner, caller))

    @override
    async def GetCluster(self, request: pb.GetClusterRequest, context: Context) -> cluster_pb2.Cluster:
        caller = current_caller()
        if revision := requests.resource_version(request.resource_version):
            return self.views.get(await self.access.get_at_least(request.name, caller, revision))
        return self.views.get(await self.access.get(request.name, caller))

    @override
    async def ListClusters(self, request: pb.ListClustersRequest, context: Context) -> pb.ListClustersResponse:
        content = await self.listing.clusters(request, current_caller())
        return cast("pb.ListClustersResponse", content)  # serialised already: ADR 0007

    @override
    async def WatchClusters(
        self, request: pb.WatchClustersRequest, context: Context
    ) -> AsyncIterator[pb.WatchClustersResponse]:
        async for response in self.watching.watch(request, current_caller()):
            yield response

    @override
    async def UpdateCluster(self, request: pb.UpdateClusterRequest, context: Context) -> cluster_pb2.Cluster:
        target = Target(request.cluster.name, request.cluster.etag)
        return self.views.get(await self.commands.update(target, updates.update(request), current_caller()))

    @override
    async def ScaleCluster(self, request: pb.ScaleClusterRequest, context: Context) -> cluster_pb2.Cluster:
        target, group = Target(request.name, request.etag), requests.group_name(request.group)
        return self.views.get(await self.commands.scale(target, group, requests.size(request), current_caller()))

    @override
    async def AdaptCluster(self, request: pb.AdaptClusterRequest, context: Context) -> cluster_pb2.Cluster:
        target, group = Target(request.name, request.etag), requests.group_name(request.group)
        adapt = requests.adapt_range(request)
        return self.views.get(await self.commands.adapt(target, group, adapt, current_caller()))

    @override
    async def StopCluster(self, request: pb.StopClusterRequest, context: Context) -> cluster_pb2.Cluster:
        return self.views.get(await self.commands.stop(request.name, current_caller()))

    @override
    async def BatchStopClusters(
        self, request: pb.BatchStopClustersRequest, context: Context
    ) -> pb.BatchStopClustersResponse:
        return await self.batch_stop.stop(request, current_caller())

    @override
    async def DeleteCluster(self, request: pb.DeleteClusterRequest, context: Context) -> pb.DeleteClusterResponse:
        await self.commands.delete(request.name, current_caller())
        return pb.DeleteClusterResponse()

    @override
    async def ConnectCluster(self, request: pb.ConnectClusterRequest, context: Context) -> pb.ConnectClusterResponse:
        return await self.connecting.connect(request.name, current_caller())

    @override
    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Context) -> pb.ListWorkersResponse:
        return await self.listing.workers(request, current_caller())

    @override
    async def ListClusterEvents(
        self, request: pb.ListClusterEventsRequest, context: Context
    ) -> pb.ListClusterEventsResponse:
        return await self.listing.events(request, current_caller())

    @override
    async def ReadLogs(self, request: pb.ReadLogsRequest, context: Context) -> AsyncIterator[pb.ReadLogsResponse]:
        async with aclosing(self.logs.read(request, current_caller())) as responses:
            async for response in responses:
                yield response

    def register(self, server: grpc.aio.Server) -> str:
        """Add the service to a server; return its full name."""
        add_ClusterServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["ClusterService"].full_name
