"""The routes of all clusters, as the controller's RouteService tells them; followed in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import grpc

from headrace.errors import HeadraceError
from headrace.internal.v1 import route_service_pb2, route_service_pb2_grpc
from headrace.resource_names import last_part
from headrace_auth import metrics
from headrace_chassis import backoff
from headrace_chassis.logs import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class DashboardRoute:
    """Whose cluster it is, and where its dashboard listens; ip:port, or empty without one."""

    owner: str
    dashboard_address: str


class RouteTable:
    """The routes last heard of. Written by one thread, read by any."""

    def __init__(self) -> None:
        self._routes: dict[str, DashboardRoute] = {}
        self.is_known = False

    def get(self, cluster: str) -> DashboardRoute | None:
        return self._routes.get(cluster)

    def apply(self, response: route_service_pb2.WatchRoutesResponse) -> None:
        routes = {} if response.snapshot else dict(self._routes)
        for name in response.removed:
            routes.pop(last_part(name, "clusters"), None)
        for route in response.routes:
            cluster, owner = last_part(route.cluster, "clusters"), last_part(route.owner, "users")
            routes[cluster] = DashboardRoute(owner, route.dashboard_address)
        self._routes = routes
        self.is_known = True
        metrics.ROUTES.set(len(routes))


class RouteFollower:
    """Keeps a table current; while the controller is away the table stays as it was."""

    def __init__(self, channel: grpc.Channel, reader: str, table: RouteTable) -> None:
        self._stub = route_service_pb2_grpc.RouteServiceStub(channel)
        self._reader = reader
        self._table = table
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._call: grpc.Future[object] | None = None
        self._thread = threading.Thread(target=self._follow, name="routes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join()

    def _follow(self) -> None:
        tries = backoff.delays(first=0.05, most=1.0)
        while not self._stopping.is_set():
            try:
                for response in self._open():
                    self._table.apply(response)
                    tries = backoff.delays(first=0.05, most=1.0)
            except grpc.RpcError as error:
                self._tell(cast("grpc.Call", error))
            except HeadraceError as error:
                log.error("route not understood", error=str(error))  # noqa: TRY400 the sentence says it
            finally:
                self._ended.set()
            self._stopping.wait(next(tries))

    def _open(self) -> Iterator[route_service_pb2.WatchRoutesResponse]:
        self._ended = ended = threading.Event()
        subscription = route_service_pb2.Subscription(reader=self._reader, acknowledges=False)

        def requests() -> Iterator[route_service_pb2.WatchRoutesRequest]:
            yield route_service_pb2.WatchRoutesRequest(subscription=subscription)
            ended.wait()  # the stream is open as long as its requests are

        call = self._stub.WatchRoutes(requests())
        self._call = cast("grpc.Future[object]", call)
        if self._stopping.is_set():
            call.cancel()
        return call

    def _tell(self, error: grpc.Call) -> None:
        if not self._stopping.is_set():
            log.info("routes not followed", code=error.code().name, error=error.details())
