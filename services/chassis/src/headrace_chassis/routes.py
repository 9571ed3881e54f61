"""Routes of the clusters as values, and as the messages of `RouteService`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from headrace.access import Access, Share
from headrace.errors import InvalidRequest
from headrace.internal.v1 import route_service_pb2 as pb
from headrace.resource_names import cluster_name, last_part, user_name
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1.enums import Right
from headrace_chassis import metrics
from headrace_chassis.logs import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a cluster is reached and who may use it. Addresses are ``ip:port``, or "" where there is none."""

    cluster: str
    access: Access = Access(owner="")  # noqa: RUF009 it is frozen
    scheduler_address: str = ""
    dashboard_address: str = ""

    @classmethod
    def from_message(cls, message: pb.Route) -> Route:
        """Read a message; raise ValueError or `InvalidRequest`.

        The name of an owner or a group of another form than the contract's stays as it is and belongs to nobody.
        """
        route = cls(
            cluster=last_part(message.cluster, "clusters"),
            access=Access(
                owner=message.owner.removeprefix("users/"),
                groups=tuple(group.removeprefix("groups/") for group in message.groups),
                shares=read_shares(message.shares),
            ),
            scheduler_address=message.scheduler_address,
            dashboard_address=message.dashboard_address,
        )
        if message.shares:
            route.to_message()  # a time beyond what can be written again would stop a reader that saves the routes
        return route

    def to_message(self) -> pb.Route:
        return pb.Route(
            cluster=cluster_name(self.cluster),
            owner=user_name(self.access.owner),
            groups=[f"groups/{group}" for group in self.access.groups],
            shares=share_messages(self.access.shares),
            scheduler_address=self.scheduler_address,
            dashboard_address=self.dashboard_address,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """Routes that changed. `snapshot` says that `routes` is complete and replaces everything before."""

    version: str
    snapshot: bool = False
    routes: tuple[Route, ...] = ()
    removed: tuple[str, ...] = ()

    @classmethod
    def from_message(cls, message: pb.WatchRoutesResponse) -> RouteChange:
        """Read a message. Routes that cannot be read count as removed: they must not stop those of other clusters."""
        routes, bad = list[Route](), dict[str, str]()
        for route in message.routes:
            try:
                routes.append(Route.from_message(route))
            except (InvalidRequest, ValueError) as error:
                bad[route.cluster.removeprefix("clusters/")] = str(error)
        if bad:
            metrics.ROUTES_SET_ASIDE.inc(len(bad))
            cluster, fault = next(iter(bad.items()))
            log.warning("routes cannot be read", routes=len(bad), cluster=cluster[:80], fault=fault)
        return cls(
            version=message.version,
            snapshot=message.snapshot,
            routes=tuple(routes),
            removed=(*(name.removeprefix("clusters/") for name in message.removed), *bad),
        )

    def to_message(self) -> pb.WatchRoutesResponse:
        return pb.WatchRoutesResponse(
            version=self.version,
            snapshot=self.snapshot,
            routes=self._messages(),
            removed=[cluster_name(cluster) for cluster in self.removed],
        )

    def _messages(self) -> Iterator[pb.Route]:
        """Yield the messages of the routes that can be written: one must not stop those of other clusters."""
        for route in self.routes:
            try:
                message = route.to_message()
            except (ValueError, OverflowError, TypeError) as error:
                metrics.ROUTES_SET_ASIDE.inc()
                log.warning("a route cannot be written", cluster=route.cluster[:80], fault=str(error))
            else:
                yield message

    def apply(self, routes: Mapping[str, Route]) -> dict[str, Route]:
        """Return the routes by cluster id after this change."""
        result = {} if self.snapshot else dict(routes)
        for cluster in self.removed:
            result.pop(cluster, None)
        result.update((route.cluster, route) for route in self.routes)
        return result


def read_shares(messages: Iterable[cluster_pb2.Share]) -> tuple[Share, ...]:
    """Read shares. Rights that this release does not know are left out: they grant nothing."""
    return tuple(
        Share(
            member=message.member,
            rights=frozenset(right for number in message.rights if (right := _right(number)) is not None),
            expires=message.expire_time.ToNanoseconds() / 1e9 if message.HasField("expire_time") else None,
        )
        for message in messages
    )


def share_messages(shares: Iterable[Share]) -> list[cluster_pb2.Share]:
    """Write shares."""
    return [
        cluster_pb2.Share(
            member=share.member,
            rights=[right_pb2.Right.Value(f"RIGHT_{right}") for right in sorted(share.rights)],
            expire_time=None if share.expires is None else _timestamp(share.expires),
        )
        for share in shares
    ]


def _right(number: int) -> Right | None:
    value = right_pb2.Right.DESCRIPTOR.values_by_number.get(number)
    return None if value is None else Right.__members__.get(value.name.removeprefix("RIGHT_"))


def _timestamp(seconds: float) -> Timestamp:
    result = Timestamp()
    result.FromNanoseconds(round(seconds * 1e9))
    return result
