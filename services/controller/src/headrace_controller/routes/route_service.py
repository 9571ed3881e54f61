"""RouteService: all routes, then changes; readers acknowledge what they have in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable

from headrace.errors import InvalidRequest, StoreUnavailable, Violation
from headrace.internal.v1 import route_service_pb2 as pb
from headrace.resource_names import cluster_name, last_part, user_name
from headrace_chassis import logs
from headrace_controller import metrics
from headrace_controller.model import ClusterId
from headrace_controller.store import RouteChange, RouteRecord, Store
from headrace_controller.store.tail import Tail

log = logs.get_logger()
# A proxy that died is waited for no longer than this.
READER_SECONDS = 6.0
_QUIET_SECONDS = 60.0


class Routes:
    """Answers WatchRoutes."""

    def __init__(
        self,
        store: Store,
        tail: Tail[RouteChange],
        *,
        acknowledged: Callable[[], None],
        rejected: Callable[[ClusterId], None],
        reader_seconds: float = READER_SECONDS,
    ) -> None:
        self._store = store
        self._tail = tail
        self._acknowledged = acknowledged
        self._rejected = rejected
        self._reader_seconds = reader_seconds

    async def watch_routes(
        self, requests: AsyncIterator[pb.WatchRoutesRequest]
    ) -> AsyncGenerator[pb.WatchRoutesResponse]:
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("step") != "subscription" or not first.subscription.reader:
            raise InvalidRequest.of(Violation("subscription", "the first message must be one, with the reader's name"))
        reader = first.subscription
        if reader.acknowledges:
            await self._store.register(reader.reader, self._reader_seconds)
        listening = [asyncio.create_task(self._listen(reader.reader, requests))]
        if reader.acknowledges:
            listening.append(asyncio.create_task(self._keep_registered(reader.reader)))
        try:
            with metrics.ROUTE_READERS.track_inprogress():
                async for response in self._steps(listening[0]):
                    yield response
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)

    async def _steps(self, listening: asyncio.Task[None]) -> AsyncGenerator[pb.WatchRoutesResponse]:
        position = ""
        while True:
            if not position:
                position, routes = await self._store.routes()
                yield pb.WatchRoutesResponse(version=position, snapshot=True, routes=map(_route, routes))
            changes = await self._next(position, listening)
            if changes is None:
                return
            if not changes and listening.done():
                listening.result()
                return
            position = changes[-1].version if changes else position
            if changes:
                yield _response(position, changes)

    async def _next(self, position: str, listening: asyncio.Task[None]) -> list[RouteChange] | None:
        """What comes after a position; None once the reader has left."""
        news = asyncio.create_task(self._tail.after(position, _QUIET_SECONDS))
        try:
            await asyncio.wait({news, listening}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()
                return None
            return news.result()
        finally:
            news.cancel()

    async def _listen(self, reader: str, requests: AsyncIterator[pb.WatchRoutesRequest]) -> None:
        async for request in requests:
            if request.WhichOneof("step") == "acknowledgement":
                await self._take(reader, request.acknowledgement)

    async def _take(self, reader: str, said: pb.Acknowledgement) -> None:
        rejected = [ClusterId(last_part(name, "clusters", "rejected")) for name in said.rejected]
        await self._store.acknowledge(reader, said.version, rejected, self._reader_seconds)
        self._acknowledged()
        for cluster in rejected:
            self._rejected(cluster)

    async def _keep_registered(self, reader: str) -> None:
        while True:
            await asyncio.sleep(self._reader_seconds / 3)
            try:
                await self._store.register(reader, self._reader_seconds)
            except StoreUnavailable as error:
                log.warning("cannot keep a reader of routes registered", reader=reader, error=str(error))


def _response(version: str, changes: Iterable[RouteChange]) -> pb.WatchRoutesResponse:
    newest = {change.cluster: change.route for change in changes}
    return pb.WatchRoutesResponse(
        version=version,
        routes=[_route(route) for route in newest.values() if route is not None],
        removed=[cluster_name(cluster) for cluster, route in newest.items() if route is None],
    )


def _route(route: RouteRecord) -> pb.Route:
    return pb.Route(
        cluster=cluster_name(route.cluster),
        owner=user_name(route.owner),
        scheduler_address=_bare(route.scheduler_address),
        dashboard_address=_bare(route.dashboard_address),
    )


def _bare(address: str) -> str:
    return address.rpartition("://")[2].rstrip("/")
