"""A proxy without Envoy: applies every route at once and acknowledges it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
from tests.controller.stubs import route_service

from headrace.internal.v1 import route_service_pb2 as pb


class FakeProxy:
    """Reads routes, acknowledges those that it does not refuse."""

    def __init__(self, reader: str = "proxy-0", *, acknowledges: bool = True) -> None:
        self._reader = reader
        self._acknowledges = acknowledges
        self.silent = False
        self.refuse_all = False
        self.routes: dict[str, pb.Route] = {}
        self.snapshots = 0
        self.last_version = ""
        self._sending: asyncio.Queue[pb.WatchRoutesRequest] = asyncio.Queue()

    async def run(self, endpoint: str) -> None:
        while True:
            try:
                await self._watch(endpoint)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.CANCELLED:
                    return  # gRPC turns the cancellation of a task into this
                await asyncio.sleep(0.05)

    def acknowledge(self, version: str) -> None:
        rejected = list(self.routes) if self.refuse_all else []
        self._sending.put_nowait(
            pb.WatchRoutesRequest(acknowledgement=pb.Acknowledgement(version=version, rejected=rejected))
        )

    async def _watch(self, endpoint: str) -> None:
        async with grpc.aio.insecure_channel(endpoint) as channel:
            async for response in route_service(channel).WatchRoutes(self._requests()):
                self._apply(response)

    async def _requests(self) -> AsyncIterator[pb.WatchRoutesRequest]:
        self._sending = asyncio.Queue()
        subscription = pb.Subscription(reader=self._reader, acknowledges=self._acknowledges)
        yield pb.WatchRoutesRequest(subscription=subscription)
        while True:
            yield await self._sending.get()

    def _apply(self, response: pb.WatchRoutesResponse) -> None:
        if response.snapshot:
            self.snapshots += 1
            self.routes = {}
        self.routes |= {route.cluster: route for route in response.routes}
        for cluster in response.removed:
            self.routes.pop(cluster, None)
        self.last_version = response.version
        if self._acknowledges and not self.silent:
            self.acknowledge(response.version)
