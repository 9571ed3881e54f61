"""A proxy without Envoy: the real reader of routes, which has every route in use at once."""

from __future__ import annotations

import grpc.aio

from headrace.internal.v1 import route_service_pb2 as pb
from headrace_chassis.route_watch import RouteWatch
from headrace_chassis.routes import Route, RouteChange

# gRPC itself would connect again only after a second.
_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    *((f"grpc.{name}_reconnect_backoff_ms", 50) for name in ("initial", "max")),
]


class FakeProxy:
    """Reads routes, acknowledges them unless it is `silent`, and rejects them all if `refuse_all` is set."""

    def __init__(self, reader: str = "proxy-0", *, acknowledges: bool = True) -> None:
        self._reader = reader
        self._acknowledges = acknowledges
        self.silent = False
        self.refuse_all = False
        self.snapshots = 0
        self.last_version = ""
        self._routes: dict[str, Route] = {}
        self._watch: RouteWatch | None = None

    @property
    def routes(self) -> dict[str, pb.Route]:
        messages = [route.to_message() for route in self._routes.values()]
        return {message.cluster: message for message in messages}

    async def run(self, endpoint: str) -> None:
        async with grpc.aio.insecure_channel(endpoint, options=_OPTIONS) as channel:
            self._watch = RouteWatch(channel, self._reader, self._accept, acknowledges=self._acknowledges)
            await self._watch.run()

    def acknowledge(self, version: str) -> None:
        assert self._watch is not None
        self._watch.acknowledge(version, self._routes if self.refuse_all else ())

    def redial(self) -> None:
        assert self._watch is not None
        self._watch.redial()

    def _accept(self, change: RouteChange) -> None:
        self.snapshots += change.snapshot
        self._routes = change.apply(self._routes)
        self.last_version = change.version
        if self._acknowledges and not self.silent:
            self.acknowledge(change.version)
