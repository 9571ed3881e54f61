"""The upstream of one scheduler, as Envoy's API describes it (and calls it a cluster)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from headrace_chassis.destinations import BadDestination, Destinations
from headrace_chassis.routes import Route
from headrace_proxy.envoy.parts import BUFFER_BYTES, upstream_keepalive
from headrace_proxy.xds.messages import Upstream

_CLUSTER_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class BadRoute(ValueError):
    """Envoy cannot serve this route; the message says why."""


@dataclass(frozen=True, slots=True)
class UpstreamTemplate:
    """What the upstreams of all schedulers have in common."""

    sni_suffix: str
    destinations: Destinations
    defaults: Message = field(repr=False)

    @classmethod
    def create(cls, sni_suffix: str, cluster_connections: int, destinations: Destinations) -> UpstreamTemplate:
        threshold = {"max_connections": cluster_connections, "max_pending_requests": cluster_connections}
        defaults = {
            "type": "STATIC",
            "connect_timeout": "5s",
            "per_connection_buffer_limit_bytes": BUFFER_BYTES,
            "upstream_connection_options": upstream_keepalive(),
            # Envoy's defaults (1024) refuse connections that a busy cluster needs.
            "circuit_breakers": {"thresholds": [threshold]},
        }
        return cls(sni_suffix, destinations, ParseDict(defaults, Upstream()))

    def name(self, cluster: str) -> str:
        """Name of a cluster's upstream: the server name (SNI) that its clients send."""
        return f"{cluster}.{self.sni_suffix}"

    def cluster_of(self, name: str) -> str:
        """Cluster whose upstream has this name."""
        return name.removesuffix(f".{self.sni_suffix}")

    def upstream(self, route: Route) -> Message | None:
        """Return the upstream of a route, None while the scheduler has no address; raise BadRoute."""
        if not _CLUSTER_ID.fullmatch(route.cluster):
            raise BadRoute(f"cluster id {route.cluster[:80]!r} is not a DNS label")
        if not route.scheduler_address:
            return None
        try:
            ip, port = self.destinations.read(route.scheduler_address)
        except BadDestination as error:
            raise BadRoute(f"scheduler: {error}") from None
        name = self.name(route.cluster)
        endpoint = {"address": {"socket_address": {"address": ip, "port_value": port}}}
        upstream = Upstream(
            name=name,
            # Dots in the name of a statistic would make a metric family of each cluster.
            alt_stat_name=route.cluster,
            load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        )
        upstream.MergeFrom(self.defaults)
        return upstream
