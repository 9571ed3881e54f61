"""The upstream of one scheduler, as Envoy takes it (and calls it a cluster)."""

from __future__ import annotations

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from headrace_proxy.envoy.tcp import BUFFER_BYTES, upstream_keepalive
from headrace_proxy.model import Address, Route
from headrace_proxy.xds.messages import Upstream


def upstream_name(cluster: str, sni_suffix: str) -> str:
    """Name of a cluster's upstream, which is the SNI that its clients send."""
    return f"{cluster}.{sni_suffix}"


def upstream_defaults(max_connections: int) -> Message:
    """What all schedulers' upstreams have in common; `max_connections` is what one cluster may hold open."""
    return ParseDict(
        {
            "type": "STATIC",
            "connect_timeout": "5s",
            "per_connection_buffer_limit_bytes": BUFFER_BYTES,
            "upstream_connection_options": upstream_keepalive(),
            # Envoy's defaults (1024) refuse connections that a busy cluster needs.
            "circuit_breakers": {
                "thresholds": [{"max_connections": max_connections, "max_pending_requests": max_connections}]
            },
        },
        Upstream(),
    )


def scheduler_upstream(route: Route, sni_suffix: str, defaults: Message) -> Message:
    """The upstream of a route that has no fault and whose scheduler's address is known."""
    name = upstream_name(route.cluster, sni_suffix)
    address = Address.parse(route.scheduler_address)
    endpoint = {"address": {"socket_address": {"address": address.ip, "port_value": address.port}}}
    upstream = Upstream(
        name=name,
        # Dots in a statistic's name would make a metric family of each cluster.
        alt_stat_name=route.cluster,
        load_assignment={"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
    )
    upstream.MergeFrom(defaults)
    return upstream
