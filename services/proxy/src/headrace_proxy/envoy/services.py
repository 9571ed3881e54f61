"""Envoy's upstreams that never change: headrace's own services, other HTTP services, and the dashboards."""

from __future__ import annotations

import ipaddress

from headrace_chassis.addresses import host_port, unix_path
from headrace_chassis.destinations import Destination, Destinations
from headrace_proxy.config import Settings
from headrace_proxy.envoy.parts import BUFFER_BYTES, Config, extension, typed, upstream_keepalive
from headrace_proxy.envoy.secrets import SERVICES, SERVICES_AUTHORITY, reference

AUTH, AUTHZ, CONTROLLER, DASHBOARDS, TRACES, XDS = "auth", "authz", "controller", "dashboards", "traces", "xds"
# One answer with more ends a connection that all callers share. Errors of our services have 8 KiB at most.
RESPONSE_HEADERS_KIB = 256
ORIGINAL_DESTINATION_HEADER = "x-envoy-original-dst-host"


def service_upstreams(settings: Settings) -> list[Config]:
    return [
        _service(AUTH, settings.auth_target, settings, _http2()),
        _service(AUTHZ, settings.authz_target, settings, _http2()),
        _service(CONTROLLER, settings.controller_target, settings, _http2()),
        # Without pings new routes would wait until TCP gives up on a dead control plane.
        _service(XDS, settings.xds_listen, settings, _http2(ping={"interval": "5s", "timeout": "3s"})),
        *(
            _service(http_upstream(one.name), one.target, settings, {"http_protocol_options": {}})
            for one in settings.http_services
        ),
        _dashboards(settings),
        *([_traces(settings)] if settings.tracing_endpoint else []),
    ]


def _traces(settings: Settings) -> Config:
    upstream = _service(TRACES, settings.tracing_target, settings, _http2())
    upstream.pop("transport_socket", None)  # the collector has no part in the services' mutual TLS
    return upstream


def http_upstream(name: str) -> str:
    """Name of the upstream of an HTTP service."""
    return f"http-{name}"


def _http2(ping: Config | None = None) -> Config:
    return {"http2_protocol_options": {"connection_keepalive": ping} if ping else {}}


def _service(name: str, target: str, settings: Settings, protocol: Config) -> Config:
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
        "typed_extension_protocol_options": _http_options(protocol),
    }
    if on_network:
        upstream["upstream_connection_options"] = upstream_keepalive()
        if settings.has_tls:
            alpn = "h2" if "http2_protocol_options" in protocol else "http/1.1"
            upstream["transport_socket"] = _mutual_tls(settings, host_port(target)[0], alpn)
    return upstream


def _dashboards(settings: Settings) -> Config:
    return {
        "name": DASHBOARDS,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        # ext_authz sets this header to the address; one that a browser sends is removed before.
        "original_dst_lb_config": {"use_http_header": True},
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "circuit_breakers": _caps(connections=settings.max_connections, requests=settings.max_connections),
        "upstream_connection_options": upstream_keepalive(),
        "typed_extension_protocol_options": _http_options(
            {"http_protocol_options": {}}, [_check_destination(settings.destinations), *_hide_destination()]
        ),
    }


def _caps(*, connections: int, requests: int) -> Config:
    threshold = {
        "max_connections": connections,
        "max_pending_requests": requests,
        "max_requests": requests,
        "max_retries": 100,
    }
    return {"thresholds": [threshold]}


def _check_destination(destinations: Destinations) -> Config:
    """A second look at what auth has checked, once Envoy has read the address and before it connects."""
    refused: Config = {"or_rules": {"rules": [_leads_to(each) for each in destinations.refused]}}
    allowed: Config = {"or_rules": {"rules": [_leads_to(each) for each in destinations.allowed]}}
    permission = {"and_rules": {"rules": [{"not_rule": refused}, *[allowed] * bool(destinations.allowed)]}}
    policy = {"permissions": [permission], "principals": [{"any": True}]}
    return extension(
        "envoy.filters.http.upstream_rbac",
        "envoy.extensions.filters.http.rbac.v3.RBAC",
        {"rules": {"action": "ALLOW", "policies": {"destinations": policy}}},
    )


def _leads_to(destination: Destination) -> Config:
    network, ports = destination.network, destination.port_range
    matcher = extension(
        "envoy.rbac.matchers.upstream_ip_port",
        "envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher",
        {
            "upstream_ip": {"address_prefix": str(network.network_address), "prefix_len": network.prefixlen},
            "upstream_port_range": {"start": ports.start, "end": ports.stop},
        },
    )
    return {"matcher": matcher}


def _hide_destination() -> list[Config]:
    # A route removes headers before the destination is read from this one; filters of the upstream run after that.
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
    common = {"max_response_headers_kb": RESPONSE_HEADERS_KIB}
    return {
        message: typed(
            message,
            {
                "explicit_http_config": explicit,
                "common_http_protocol_options": common,
                "http_filters": filters or [],
            },
        )
    }


def _address(target: str) -> tuple[Config, bool]:
    """The address for Envoy, and whether it is on the network."""
    if path := unix_path(target):
        return {"pipe": {"path": str(path)}}, False
    host, port = host_port(target)
    return {"socket_address": {"address": host, "port_value": port}}, True


def _mutual_tls(settings: Settings, host: str, alpn: str) -> Config:
    """Mutual TLS with the certificates that the services use; the service's certificate must be for `host`."""
    is_ip = _is_ip(host)
    name = {"san_type": "IP_ADDRESS" if is_ip else "DNS", "matcher": {"exact": host}}
    common = {
        "alpn_protocols": [alpn],
        "tls_certificate_sds_secret_configs": [reference(settings, SERVICES)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [name]},
            "validation_context_sds_secret_config": reference(settings, SERVICES_AUTHORITY),
        },
    }
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        {"sni": "" if is_ip else host, "common_tls_context": common},
    )


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
