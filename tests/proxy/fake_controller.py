"""A controller as the proxy knows it: RouteService, and what has been acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import monotonic

import grpc

from headrace.internal.v1 import route_service_pb2 as pb
from headrace.internal.v1 import route_service_pb2_grpc as rpc


@dataclass(eq=False)
class FakeController(rpc.RouteServiceServicer):
    """Serves routes at `address`."""

    address: str
    routes: dict[str, pb.Route] = field(default_factory=dict[str, pb.Route])
    subscriptions: list[pb.Subscription] = field(default_factory=list[pb.Subscription])
    rejected: set[str] = field(default_factory=set[str])
    acknowledged: int = 0
    acknowledged_at: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _version: int = 0
    _epoch: int = 0
    _readers: set[asyncio.Queue[pb.WatchRoutesResponse]] = field(
        default_factory=set[asyncio.Queue[pb.WatchRoutesResponse]]
    )
    _server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._epoch += 1
        self._server = grpc.aio.server()
        rpc.add_RouteServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def set(
        self, cluster: str, scheduler_address: str = "", dashboard_address: str = "", *, quiet: bool = False
    ) -> int:
        """Adds or changes a route; returns the version that has it."""
        name = f"clusters/{cluster}"
        route = pb.Route(
            cluster=name, owner="users/ann", scheduler_address=scheduler_address, dashboard_address=dashboard_address
        )
        self.routes[name] = route
        return self._tell(routes=[route])

    def remove(self, cluster: str) -> int:
        """Removes a route; returns the version without it."""
        name = f"clusters/{cluster}"
        del self.routes[name]
        return self._tell(removed=[name])

    def _tell(self, *, routes: list[pb.Route] | None = None, removed: list[str] | None = None) -> int:
        self._version += 1
        step = pb.WatchRoutesResponse(version=self._name(self._version), routes=routes or [], removed=removed or [])
        for queue in self._readers:
            queue.put_nowait(step)
        return self._version

    def _name(self, version: int) -> str:
        return f"{self._epoch}-{version}"

    async def WatchRoutes(  # noqa: N802  the contract's spelling
        self, request_iterator: AsyncIterator[pb.WatchRoutesRequest], context: object
    ) -> AsyncIterator[pb.WatchRoutesResponse]:
        first = await anext(request_iterator)
        self.subscriptions.append(first.subscription)
        queue = asyncio.Queue[pb.WatchRoutesResponse]()
        reading = asyncio.create_task(self._read(request_iterator))
        self._readers.add(queue)
        try:
            name = self._name(self._version)
            yield pb.WatchRoutesResponse(version=name, snapshot=True, routes=self.routes.values())
            while True:
                yield await queue.get()
        finally:
            self._readers.discard(queue)
            reading.cancel()

    async def _read(self, requests: AsyncIterator[pb.WatchRoutesRequest]) -> None:
        async for request in requests:
            epoch, _, version = request.acknowledgement.version.partition("-")
            assert int(epoch) == self._epoch
            self.acknowledged_at = monotonic()
            self.acknowledged = int(version)
            self.rejected = set(request.acknowledgement.rejected)
            self.changed.set()

    async def acknowledgement(self, version: int) -> float:
        """Waits until a version is acknowledged; returns when that was."""
        while self.acknowledged != version:
            self.changed.clear()
            await self.changed.wait()
        return self.acknowledged_at
