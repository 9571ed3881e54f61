"""Between the messages of RouteService and the model."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.internal.v1 import route_service_pb2 as pb
from headrace.resource_names import cluster_name
from headrace_proxy.model import Route, RouteStep


def route_step(message: pb.WatchRoutesResponse) -> RouteStep:
    """Reads a step of the routes."""
    return RouteStep(
        version=message.version,
        snapshot=message.snapshot,
        routes=[
            Route(
                cluster=_cluster_id(route.cluster),
                owner=route.owner,
                scheduler_address=route.scheduler_address,
                dashboard_address=route.dashboard_address,
            )
            for route in message.routes
        ],
        removed=[_cluster_id(name) for name in message.removed],
    )


def snapshot_message(version: str, routes: Iterable[Route]) -> pb.WatchRoutesResponse:
    """Writes all routes as one step."""
    return pb.WatchRoutesResponse(
        version=version,
        snapshot=True,
        routes=[
            pb.Route(
                cluster=cluster_name(route.cluster),
                owner=route.owner,
                scheduler_address=route.scheduler_address,
                dashboard_address=route.dashboard_address,
            )
            for route in routes
        ],
    )


def subscription(reader: str) -> pb.WatchRoutesRequest:
    """Opens the watch of a reader that acknowledges."""
    return pb.WatchRoutesRequest(subscription=pb.Subscription(reader=reader, acknowledges=True))


def acknowledgement(version: str, rejected: Iterable[str]) -> pb.WatchRoutesRequest:
    """Tells that all up to `version` is in use, but for the clusters in `rejected`."""
    names = [cluster_name(cluster) for cluster in sorted(rejected)]
    return pb.WatchRoutesRequest(acknowledgement=pb.Acknowledgement(version=version, rejected=names))


def _cluster_id(name: str) -> str:
    # A name of another form stays as it is: the model finds fault with it, and the rest of the step is served.
    return name.removeprefix("clusters/")
