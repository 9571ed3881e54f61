"""RouteService: all routes, then changes; readers acknowledge what they have in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import grpc.aio
from typing_extensions import override

from headrace.errors import InvalidRequest, ResumeTokenTooOld, StoreUnavailable, Violation
from headrace.internal.v1 import route_service_pb2 as pb
from headrace.internal.v1.route_service_pb2_grpc import RouteServiceServicer, add_RouteServiceServicer_to_server
from headrace.resource_names import last_part
from headrace_chassis import logs
from headrace_chassis.routes import RouteChange
from headrace_controller import metrics
from headrace_controller.mirror.tail import Tail
from headrace_controller.model import ClusterId
from headrace_controller.store import Acknowledgement, RouteLogEntry
from headrace_controller.store.routes import READER_SECONDS, Routes
from headrace_controller.store.values import is_version

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

log = logs.get_logger()
_QUIET_SECONDS = 60.0
_MAX_REJECTED = 100_000


class RouteService(RouteServiceServicer):
    """Serves routes to proxies and auth.

    Parameters
    ----------
    accept
        Called with what a reader has in use, once the store has it.
    reader_seconds
        Seconds for which a reader counts without a sign of life.
    """

    def __init__(
        self,
        routes: Routes,
        tail: Tail[RouteLogEntry],
        *,
        accept: Callable[[str, Acknowledgement], None],
        reader_seconds: float = READER_SECONDS,
    ) -> None:
        self._routes = routes
        self._tail = tail
        self._accept = accept
        self._reader_seconds = reader_seconds

    def register(self, server: grpc.aio.Server) -> str:
        """Adds the service to a server; returns its full name."""
        add_RouteServiceServicer_to_server(self, server)
        return pb.DESCRIPTOR.services_by_name["RouteService"].full_name

    @override
    async def WatchRoutes(
        self, request_iterator: AsyncIterator[pb.WatchRoutesRequest], context: Context
    ) -> AsyncGenerator[pb.WatchRoutesResponse]:
        first = await anext(aiter(request_iterator), None)
        if first is None or not first.subscription.reader:
            raise InvalidRequest.of(Violation("subscription", "the first message must be one, with the reader's name"))
        reader = first.subscription
        if reader.acknowledges:
            await self._routes.register(reader.reader, self._reader_seconds)
        listening = [asyncio.create_task(self._listen(reader.reader, request_iterator))]
        if reader.acknowledges:
            listening.append(asyncio.create_task(self._keep_registered(reader.reader)))
        try:
            with metrics.ROUTE_READERS.track_inprogress():
                async for change in self._changes(listening[0]):
                    yield change.to_message()
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)

    async def _changes(self, listening: asyncio.Task[None]) -> AsyncGenerator[RouteChange]:
        """All routes, then changes, until the reader leaves; all routes again if changes were missed."""
        position = ""
        while not listening.done():
            if not position:
                position, routes = await self._routes.all()
                yield RouteChange(version=position, snapshot=True, routes=tuple(routes))
            try:
                entries = await self._next(position, listening)
            except ResumeTokenTooOld:
                position = ""
                continue
            if entries:
                position = entries[-1].id
                yield _change(position, entries)
        listening.result()

    async def _next(self, position: str, listening: asyncio.Task[None]) -> Sequence[RouteLogEntry]:
        """What comes after a position; nothing once the reader has left."""
        news = asyncio.create_task(self._tail.after(position, _QUIET_SECONDS))
        try:
            await asyncio.wait({news, listening}, return_when=asyncio.FIRST_COMPLETED)
            return () if listening.done() else news.result()
        finally:
            news.cancel()

    async def _listen(self, reader: str, requests: AsyncIterator[pb.WatchRoutesRequest]) -> None:
        async for request in requests:
            match request.WhichOneof("request"):
                case "acknowledgement":
                    await self._acknowledge(reader, request.acknowledgement)
                case "redial":
                    log.info("a proxy is about to close connections: clients are asked to connect again", reader=reader)
                    await self._routes.redial()
                case _:
                    pass  # from a newer reader

    async def _acknowledge(self, reader: str, message: pb.Acknowledgement) -> None:
        rejected = [ClusterId(last_part(name, "clusters", "rejected")) for name in message.rejected[:_MAX_REJECTED]]
        in_use = Acknowledgement(version=_version(message.version), rejected=frozenset(rejected))
        await self._routes.acknowledge(reader, in_use, self._reader_seconds)
        self._accept(reader, in_use)

    async def _keep_registered(self, reader: str) -> None:
        while True:
            await asyncio.sleep(self._reader_seconds / 3)
            try:
                await self._routes.register(reader, self._reader_seconds)
            except StoreUnavailable as error:
                log.warning("cannot keep a reader of routes registered", reader=reader, error=str(error))


def _version(version: str) -> str:
    if not is_version(version):
        raise InvalidRequest.of(Violation("version", "is not a version of a WatchRoutesResponse"))
    return version


def _change(version: str, entries: Iterable[RouteLogEntry]) -> RouteChange:
    newest = {entry.cluster: entry.route for entry in entries}
    return RouteChange(
        version=version,
        routes=tuple(route for route in newest.values() if route is not None),
        removed=tuple(cluster for cluster, route in newest.items() if route is None),
    )
