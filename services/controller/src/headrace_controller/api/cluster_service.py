"""ClusterService: converts, calls one function, converts back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from headrace.resource_names import cluster_name
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import current_caller
from headrace_controller.api import requests
from headrace_controller.api.answers import Views
from headrace_controller.api.changing import Clusters, Target
from headrace_controller.api.connecting import Connecting
from headrace_controller.api.listing import Listing
from headrace_controller.api.log_reading import LogReading
from headrace_controller.api.watching import Watching
from headrace_controller.clusters.access import Access, check
from headrace_controller.model import UserId
from headrace_controller.options.catalogue import Options


@dataclass(frozen=True)
class ClusterService:
    """Lifecycle of Dask clusters. Answers that name `bytes` are serialised already."""

    options: Options
    access: Access
    clusters: Clusters
    views: Views
    listing: Listing
    watching: Watching
    connecting: Connecting
    logs: LogReading

    async def create_cluster(self, request: pb.CreateClusterRequest) -> bytes:
        wish = requests.new_cluster(request, self.options)
        return self.views.of(await self.clusters.create(wish, current_caller()))

    async def get_cluster(self, request: pb.GetClusterRequest) -> bytes:
        caller = current_caller()
        cluster = await self.access.find(request.name, caller)
        return await self.views.get(cluster, lambda owner: check(cluster, owner, caller))

    async def list_clusters(self, request: pb.ListClustersRequest) -> bytes:
        return await self.listing.clusters(request, current_caller())

    async def watch_clusters(self, request: pb.WatchClustersRequest) -> AsyncIterator[pb.WatchClustersResponse]:
        async for step in self.watching.watch(request, current_caller()):
            yield step

    async def scale_cluster(self, request: pb.ScaleClusterRequest) -> bytes:
        target = Target(request.name, requests.group_name(request.group), request.etag)
        return self.views.of(await self.clusters.scale(target, requests.size(request), current_caller()))

    async def adapt_cluster(self, request: pb.AdaptClusterRequest) -> bytes:
        target = Target(request.name, requests.group_name(request.group), request.etag)
        return self.views.of(await self.clusters.adapt(target, requests.adapt_range(request), current_caller()))

    async def stop_cluster(self, request: pb.StopClusterRequest) -> bytes:
        return self.views.of(await self.clusters.stop(request.name, current_caller()))

    async def stop_all_clusters(self, request: pb.StopAllClustersRequest) -> pb.StopAllClustersResponse:
        caller = current_caller()
        owner = requests.one_owner(request.owner, caller.user)
        stopped = await self.clusters.stop_all(UserId(owner), caller)
        return pb.StopAllClustersResponse(names=[cluster_name(cluster) for cluster in stopped])

    async def connect_cluster(self, request: pb.ConnectClusterRequest) -> pb.ConnectClusterResponse:
        return await self.connecting.connect(request.name, current_caller())

    async def list_workers(self, request: pb.ListWorkersRequest) -> pb.ListWorkersResponse:
        return await self.listing.workers(request, current_caller())

    async def list_cluster_events(self, request: pb.ListClusterEventsRequest) -> pb.ListClusterEventsResponse:
        return await self.listing.events(request, current_caller())

    async def read_logs(self, request: pb.ReadLogsRequest) -> AsyncIterator[pb.ReadLogsResponse]:
        async for piece in self.logs.read(request, current_caller()):
            yield piece
