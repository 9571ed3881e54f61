"""CullingService: checks the request, calls one function, converts the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
from typing_extensions import override

from headrace.v1 import cluster_pb2
from headrace.v1 import culling_service_pb2 as pb
from headrace.v1.culling_service_pb2_grpc import CullingServiceServicer, add_CullingServiceServicer_to_server
from headrace_chassis.identity.caller import current_caller
from headrace_controller.api import requests
from headrace_controller.api.commands import ClusterCommands
from headrace_controller.api.outlook import Outlook
from headrace_controller.api.views import Views

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, kw_only=True)
class CullingService(CullingServiceServicer):
    """Clusters that are given back because nobody needs them."""

    commands: ClusterCommands
    outlook: Outlook
    views: Views

    @override
    async def KeepCluster(self, request: pb.KeepClusterRequest, context: Context) -> cluster_pb2.Cluster:
        seconds = requests.keep_seconds(request)
        return self.views.get(await self.commands.keep(request.name, seconds, current_caller()))

    @override
    async def ListCulling(self, request: pb.ListCullingRequest, context: Context) -> pb.ListCullingResponse:
        return await self.outlook.list(request, current_caller())

    @override
    async def CullCluster(self, request: pb.CullClusterRequest, context: Context) -> cluster_pb2.Cluster:
        return self.views.get(await self.commands.cull(request.name, current_caller()))

    def register(self, server: grpc.aio.Server) -> str:
        """Add the service to a server; return its full name."""
        add_CullingServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["CullingService"].full_name
