"""Follows the controller's routes and acknowledges what all Envoys have in use."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

import grpc

from headrace.internal.v1 import route_service_pb2 as pb
from headrace.internal.v1.route_service_pb2_grpc import RouteServiceStub
from headrace_chassis.backoff import delays
from headrace_chassis.logs import get_logger
from headrace_proxy import metrics
from headrace_proxy.routes import convert
from headrace_proxy.routes.route_book import RouteBook
from headrace_proxy.xds.distribution import Distribution

if TYPE_CHECKING:
    from headrace.internal.v1.route_service_pb2_grpc import RouteServiceAsyncStub

Call = grpc.aio.StreamStreamCall[pb.WatchRoutesRequest, pb.WatchRoutesResponse]
Versions = deque[tuple[int, str]]
log = get_logger()


class RouteReader:
    """Reads the controller's stream of routes, again and again, whatever becomes of the controller."""

    def __init__(self, channel: grpc.aio.Channel, book: RouteBook, distribution: Distribution, reader: str) -> None:
        self._stub = cast("RouteServiceAsyncStub", RouteServiceStub(channel))
        self._book = book
        self._distribution = distribution
        self._reader = reader
        self._connected = False

    async def run(self) -> None:
        """Follows the controller for ever."""
        waits = delays(0.05, 1.0)
        while True:
            reason = await self._watch()
            if self._connected:
                log.warning("controller lost, going on with the routes at hand", reason=reason)
                waits = delays(0.05, 1.0)
            self._set_connected(False)
            await asyncio.sleep(next(waits))

    async def _watch(self) -> str:
        """Follows one stream until it ends; returns why it did."""
        call = self._stub.WatchRoutes()
        # A later acknowledgement stands for all before it, so that the oldest may be dropped.
        versions: Versions = deque(maxlen=1000)
        acknowledging = asyncio.create_task(self._acknowledge(call, versions))
        try:
            await call.write(convert.subscription(self._reader))
            while isinstance(message := await call.read(), pb.WatchRoutesResponse):
                self._take(message, versions)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            return error.details() or error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)
        finally:
            acknowledging.cancel()
            await asyncio.gather(acknowledging, return_exceptions=True)
            call.cancel()
        return "it ended the stream"

    def _take(self, message: pb.WatchRoutesResponse, versions: Versions) -> None:
        if not self._connected:
            log.info("following the controller's routes", routes=len(message.routes))
            self._set_connected(True)
        serial = self._distribution.publish(self._book.apply(convert.route_step(message)))
        versions.append((serial, message.version))
        self._distribution.progress.set()

    async def _acknowledge(self, call: Call, versions: Versions) -> None:
        while True:
            await self._distribution.progress.wait()
            self._distribution.progress.clear()
            in_use = self._distribution.in_use
            newest = None
            while versions and versions[0][0] <= in_use:
                _, newest = versions.popleft()
            if newest is not None:
                await call.write(convert.acknowledgement(newest, self._distribution.rejected()))

    def _set_connected(self, connected: bool) -> None:
        self._connected = connected
        metrics.CONTROLLER_CONNECTED.set(connected)
