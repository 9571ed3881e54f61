"""Publishes the controller's routes and acknowledges the versions that all Envoys use."""

from __future__ import annotations

import asyncio
from collections import deque

import grpc

from headrace_chassis.logs import get_logger
from headrace_chassis.route_watch import RouteWatch
from headrace_chassis.routes import RouteChange
from headrace_proxy.routes.route_table import RouteTable
from headrace_proxy.xds.distribution import Distribution

log = get_logger()


class RouteFollower:
    """Follows the routes on a channel to the controller, as the reader of that name."""

    def __init__(self, channel: grpc.aio.Channel, reader: str, table: RouteTable, distribution: Distribution) -> None:
        self._table = table
        self._distribution = distribution
        self._watch = RouteWatch(channel, reader, self._accept, acknowledges=True)
        # Serial and version of each change. An acknowledgement stands for all before it: the oldest may be dropped.
        self._pending: deque[tuple[int, str]] = deque(maxlen=1000)

    async def run(self) -> None:
        """Follow and acknowledge; runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.run())
            group.create_task(self._acknowledge())

    def redial(self) -> None:
        """Have the clients of all clusters asked to connect again: Envoy is about to close their connections."""
        log.info("asking clients to connect again")
        self._watch.redial()

    def _accept(self, change: RouteChange) -> None:
        if change.snapshot:
            self._pending.clear()  # those versions belong to a stream that has ended
        serial = self._distribution.publish(self._table.apply(change))
        self._pending.append((serial, change.version))
        self._distribution.progress.set()

    async def _acknowledge(self) -> None:
        while True:
            await self._distribution.progress.wait()
            self._distribution.progress.clear()
            in_use, newest = self._distribution.in_use, None
            while self._pending and self._pending[0][0] <= in_use:
                _, newest = self._pending.popleft()
            if newest is not None:
                self._watch.acknowledge(newest, self._distribution.rejected())
