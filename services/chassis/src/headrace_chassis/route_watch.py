"""Follows the controller's routes, for services that depend on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, cast

import grpc

from headrace.backoff import delays
from headrace.internal.v1 import route_service_pb2 as pb
from headrace.internal.v1.route_service_pb2_grpc import RouteServiceStub
from headrace.resource_names import cluster_name
from headrace_chassis import metrics
from headrace_chassis.logs import get_logger
from headrace_chassis.routes import RouteChange

if TYPE_CHECKING:
    from headrace.internal.v1.route_service_pb2_grpc import RouteServiceAsyncStub

Call = grpc.aio.StreamStreamCall[pb.WatchRoutesRequest, pb.WatchRoutesResponse]
FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.05, 0.3

log = get_logger()


class RouteWatch:
    """Receives all routes, then changes. While the controller is away the receiver keeps what it has.

    Parameters
    ----------
    channel
        To the controller's internal listener.
    reader
        Name of this reader, stable over restarts.
    accept
        Called with each change, in order; the first one of each stream is a snapshot.
    acknowledges
        Whether clusters become RUNNING only after `acknowledge` of their route.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        reader: str,
        accept: Callable[[RouteChange], object],
        *,
        acknowledges: bool = False,
    ) -> None:
        self._stub = cast("RouteServiceAsyncStub", RouteServiceStub(channel))
        self._subscription = pb.Subscription(reader=reader, acknowledges=acknowledges)
        self._accept = accept
        self._connected = False
        self._acknowledgement: pb.Acknowledgement | None = None
        self._redial = False
        self._to_send = asyncio.Event()

    def acknowledge(self, version: str, rejected: Collection[str] = ()) -> None:
        """Report that every route up to `version` is in use, except those of the clusters in `rejected`.

        It stands for all acknowledgements before it. Only versions since the last snapshot may be acknowledged;
        without a stream nothing is sent.
        """
        if not self._connected:
            return
        names = [cluster_name(cluster) for cluster in sorted(rejected)]
        self._acknowledgement = pb.Acknowledgement(version=version, rejected=names)
        self._to_send.set()

    def redial(self) -> None:
        """Ask the Dask clients of all clusters to connect again; without a stream, as soon as there is one."""
        self._redial = True
        self._to_send.set()

    async def run(self) -> None:
        """Run until cancelled; open the stream again whenever it ends."""
        waits = delays(FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS)
        while True:
            reason = await self._follow()
            if self._connected:
                log.warning("controller lost; its last routes stay in use", reason=reason)
                waits = delays(FIRST_DELAY_SECONDS, MAX_DELAY_SECONDS)
            self._set_connected(connected=False)
            await asyncio.sleep(next(waits))

    async def _follow(self) -> str:
        """Follow one stream until it ends; return the reason."""
        self._acknowledgement = None
        self._to_send.set()
        call = self._stub.WatchRoutes()
        reading, sending = asyncio.create_task(self._read(call)), asyncio.create_task(self._send(call))
        try:
            # grpc.aio may hold back a cancellation that arrives while it prepares a call; `asyncio.wait` does not.
            await asyncio.wait({reading})
        finally:
            call.cancel()
            for task in (reading, sending):
                task.cancel()
            await asyncio.gather(reading, sending, return_exceptions=True)
        return reading.result()

    async def _read(self, call: Call) -> str:
        try:
            while isinstance(message := await call.read(), pb.WatchRoutesResponse):
                self._receive(message)
        except grpc.aio.AioRpcError as error:
            return error.details() or error.code().name
        except Exception as error:
            log.exception("the controller's routes cannot be used")
            return str(error)
        return "the controller ended the stream"

    def _receive(self, message: pb.WatchRoutesResponse) -> None:
        if not self._connected:
            log.info("following the controller's routes", routes=len(message.routes))
            self._set_connected(connected=True)
        self._accept(RouteChange.from_message(message))

    async def _send(self, call: Call) -> None:
        await call.write(pb.WatchRoutesRequest(subscription=self._subscription))
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            if (acknowledgement := self._acknowledgement) is not None:
                self._acknowledgement = None
                await call.write(pb.WatchRoutesRequest(acknowledgement=acknowledgement))
            if self._redial:
                self._redial = False
                try:
                    await call.write(pb.WatchRoutesRequest(redial=pb.Redial()))
                except BaseException:
                    self._redial = True  # for the next stream: this one has ended
                    raise

    def _set_connected(self, *, connected: bool) -> None:
        self._connected = connected
        metrics.ROUTES_CONNECTED.set(connected)
