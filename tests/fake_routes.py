"""A controller as readers of routes know it; `tests/contract/test_route_service.py` holds it to the real one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import grpc.aio
from typing_extensions import override

from headrace._wire.status import to_status
from headrace.errors import InvalidRequest, Violation
from headrace.internal.v1 import route_service_pb2 as pb
from headrace.internal.v1 import route_service_pb2_grpc
from headrace.resource_names import last_part

_VERSION = re.compile(r"([0-9]+)-([0-9]+)")
Requests = AsyncIterator[pb.WatchRoutesRequest]


class FakeRoutes(route_service_pb2_grpc.RouteServiceServicer):
    """RouteService at `address`, with the routes that a test sets, and what readers have acknowledged.

    A version is ``{start}-{number}``; the methods that change routes return the number.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.routes: dict[str, pb.Route] = {}
        self.subscriptions: list[pb.Subscription] = []
        self.acknowledged = 0
        self.acknowledged_at = 0.0
        self.rejected: set[str] = set()
        self.redials = 0
        self._heard = asyncio.Event()
        self._starts = 0
        self._number = 0
        self._readers: set[asyncio.Queue[pb.WatchRoutesResponse | InvalidRequest | None]] = set()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._starts += 1
        self._server = grpc.aio.server()
        route_service_pb2_grpc.add_RouteServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def set(self, cluster: str, scheduler_address: str = "", dashboard_address: str = "") -> int:
        """Adds or changes the route of a cluster of ann's."""
        route = pb.Route(
            cluster=f"clusters/{cluster}",
            owner="users/ann",
            scheduler_address=scheduler_address,
            dashboard_address=dashboard_address,
        )
        return self.send(route)

    def remove(self, cluster: str) -> int:
        """Removes a route."""
        return self.send(removed=(f"clusters/{cluster}",))

    def send(self, *routes: pb.Route, removed: tuple[str, ...] = ()) -> int:
        """Changes routes, in one message to each reader."""
        for name in removed:
            del self.routes[name]
        self.routes.update({route.cluster: route for route in routes})
        self._number += 1
        change = pb.WatchRoutesResponse(version=self._version(), routes=routes, removed=removed)
        for reader in self._readers:
            reader.put_nowait(change)
        return self._number

    async def acknowledgement(self, number: int) -> float:
        """Waits until a version is acknowledged; returns when that was, in seconds of the monotonic clock."""
        while self.acknowledged != number:
            self._heard.clear()
            await self._heard.wait()
        return self.acknowledged_at

    @override
    async def WatchRoutes(self, request_iterator: Requests, context: Any) -> AsyncIterator[pb.WatchRoutesResponse]:
        first = await anext(aiter(request_iterator), None)
        if first is None or not first.subscription.reader:
            await _refuse(context, _wrong("subscription", "the first message must be one"))
            return
        self.subscriptions.append(first.subscription)
        outbox = asyncio.Queue[pb.WatchRoutesResponse | InvalidRequest | None]()
        outbox.put_nowait(pb.WatchRoutesResponse(version=self._version(), snapshot=True, routes=self.routes.values()))
        self._readers.add(outbox)
        reading = asyncio.create_task(self._read(request_iterator, outbox))
        try:
            while (change := await outbox.get()) is not None:
                if isinstance(change, InvalidRequest):
                    await _refuse(context, change)
                    return
                yield change
        finally:
            self._readers.discard(outbox)
            reading.cancel()

    def _version(self) -> str:
        return f"{self._starts}-{self._number}"

    async def _read(
        self, requests: Requests, outbox: asyncio.Queue[pb.WatchRoutesResponse | InvalidRequest | None]
    ) -> None:
        try:
            async for request in requests:
                if request.HasField("redial"):
                    self.redials += 1
                else:
                    self._acknowledge(request.acknowledgement)
        except InvalidRequest as error:
            outbox.put_nowait(error)
        else:
            outbox.put_nowait(None)

    def _acknowledge(self, message: pb.Acknowledgement) -> None:
        for name in message.rejected:
            last_part(name, "clusters", "rejected")
        if (version := _VERSION.fullmatch(message.version)) is None:
            raise _wrong("version", "is not a version of a WatchRoutesResponse")
        assert int(version[1]) == self._starts, "a version of the stream before"
        self.acknowledged = int(version[2])
        self.acknowledged_at = monotonic()
        self.rejected = set(message.rejected)
        self._heard.set()


async def _refuse(context: Any, error: InvalidRequest) -> None:
    status = to_status(error)
    await context.abort(status.code, status.details, status.trailing_metadata)


def _wrong(field: str, description: str) -> InvalidRequest:
    return InvalidRequest.of(Violation(field, description))
