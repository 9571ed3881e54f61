"""Envoy's upstreams that never change: headrace's own services and the dashboards."""

from __future__ import annotations

from headrace_chassis.addresses import host_port, unix_path
from headrace_proxy.config import Settings
from headrace_proxy.envoy.envoy_config import Config, extension, typed
from headrace_proxy.envoy.service_tls import mutual_tls
from headrace_proxy.envoy.tcp import BUFFER_BYTES, upstream_keepalive

AUTH, AUTHZ, CONTROLLER, DASHBOARDS, XDS = "auth", "authz", "controller", "dashboards", "xds"
ORIGINAL_DESTINATION_HEADER = "x-envoy-original-dst-host"


def service_upstreams(settings: Settings) -> list[Config]:
    """All fixed upstreams."""
    return [
        _service(AUTH, settings.auth_target, settings),
        _service(AUTHZ, settings.authz_target, settings),
        _service(CONTROLLER, settings.controller_target, settings),
        # A dead control plane must be noticed, or new routes would wait for TCP to give up.
        _service(XDS, settings.xds_listen, settings, ping={"interval": "5s", "timeout": "3s"}),
        _dashboards(settings),
    ]


def _service(name: str, target: str, settings: Settings, ping: Config | None = None) -> Config:
    http2: Config = {"connection_keepalive": ping} if ping else {}
    address, on_network = _address(target)
    upstream: Config = {
        "name": name,
        "type": "STRICT_DNS" if on_network else "STATIC",
        "connect_timeout": "2s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "circuit_breakers": _caps(connections=1024, requests=100_000),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": _http_options({"http2_protocol_options": http2}),
    }
    if on_network:
        upstream["upstream_connection_options"] = upstream_keepalive()
        if settings.has_tls:
            upstream["transport_socket"] = mutual_tls(settings, host_port(target)[0])
    return upstream


def _dashboards(settings: Settings) -> Config:
    return {
        "name": DASHBOARDS,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        # ext_authz names the address; what a browser sends under this name is removed before.
        "original_dst_lb_config": {"use_http_header": True},
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "circuit_breakers": _caps(connections=settings.max_connections, requests=settings.max_connections),
        "upstream_connection_options": upstream_keepalive(),
        "typed_extension_protocol_options": _http_options({"http_protocol_options": {}}, _hide_destination()),
    }


def _caps(*, connections: int, requests: int) -> Config:
    threshold = {
        "max_connections": connections,
        "max_pending_requests": requests,
        "max_requests": requests,
        "max_retries": 100,
    }
    return {"thresholds": [threshold]}


def _hide_destination() -> list[Config]:
    # A route removes headers before the destination is chosen by this one; the upstream's filters come after.
    return [
        extension(
            "envoy.filters.http.header_mutation",
            "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            {"mutations": {"request_mutations": [{"remove": ORIGINAL_DESTINATION_HEADER}]}},
        ),
        extension("envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"),
    ]


def _http_options(explicit: Config, filters: list[Config] | None = None) -> Config:
    message = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {message: typed(message, {"explicit_http_config": explicit, "http_filters": filters or []})}


def _address(target: str) -> tuple[Config, bool]:
    if path := unix_path(target):
        return {"pipe": {"path": str(path)}}, False
    host, port = host_port(target)
    return {"socket_address": {"address": host, "port_value": port}}, True
