"""HTTP on the public port: clean-up of requests, limits and authorization, before a route is followed."""

from __future__ import annotations

from importlib.resources import files

from headrace_proxy.config import Settings
from headrace_proxy.envoy.http_routes import DECISIONS, EXT_AUTHZ, virtual_hosts
from headrace_proxy.envoy.local_replies import local_reply_config
from headrace_proxy.envoy.parts import Config, extension
from headrace_proxy.envoy.services import AUTHZ, TRACES

# Headers that control Envoy and our services: removed from what comes in.
INTERNAL_HEADER_PREFIXES = ("x-envoy-", "x-headrace-")
# A request with more is refused by itself. One header that is beyond 64 KiB as it is sent ends the connection that it
# came by: there HTTP/2's decompression gives up.
REQUEST_HEADERS_KIB = 60


def http_connection_manager(settings: Settings) -> Config:
    return extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        {
            "stat_prefix": "public",
            "server_name": "headrace",
            **_tracing(settings),
            "use_remote_address": True,
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "early_header_mutation_extensions": [_remove_internal_headers()],
            "common_http_protocol_options": {"idle_timeout": "3600s", "max_headers_count": 100},
            "http2_protocol_options": _http2(),
            "max_request_headers_kb": REQUEST_HEADERS_KIB,
            "request_headers_timeout": "10s",
            "stream_idle_timeout": "300s",
            "http_filters": [
                *_base_path(settings.base_path),
                _grpc_web(),
                _rate_limit(settings.requests_per_second),
                _decisions(),
                _ext_authz(),
                router(),
            ],
            "local_reply_config": local_reply_config(settings),
            "route_config": {
                "name": "public",
                "ignore_port_in_host_matching": True,
                "virtual_hosts": virtual_hosts(settings),
            },
        },
    )


def _tracing(settings: Settings) -> Config:
    """Spans of all requests, below that of a caller who traces. Without one, Envoy begins a trace now and then."""
    if not settings.tracing_endpoint:
        return {}
    collector = {"envoy_grpc": {"cluster_name": TRACES}, "timeout": "1s"}
    provider = extension(
        "envoy.tracers.opentelemetry",
        "envoy.config.trace.v3.OpenTelemetryConfig",
        {"grpc_service": collector, "service_name": "headrace-envoy"},
    )
    share = {"value": settings.tracing_percent}
    # A span of its own below the caller's, and the services' spans below that.
    return {"tracing": {"provider": provider, "random_sampling": share, "spawn_upstream_span": True}}


def _http2() -> Config:
    return {
        "max_concurrent_streams": 1000,
        # Websockets by HTTP/2 (RFC 8441), as Gateways open them. Other requests of CONNECT have no route.
        "allow_connect": True,
        "initial_stream_window_size": 1 << 20,
        "initial_connection_window_size": 1 << 22,
        # Streams may be silent for long: only a ping detects a client that is gone.
        "connection_keepalive": {"interval": "30s", "timeout": "10s"},
    }


def _remove_internal_headers() -> Config:
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        {"mutations": [{"remove_on_match": {"key_matcher": {"prefix": p}}} for p in INTERNAL_HEADER_PREFIXES]},
    )


def _base_path(base_path: str) -> list[Config]:
    """Requests below the base path become those that stand at the root, so that nothing after it knows of it."""
    if not base_path:
        return []
    script = (files("headrace_proxy.envoy") / "base_path.lua").read_text(encoding="utf-8")
    code = {"inline_string": f'local BASE = "{base_path}"\n{script}'}
    return [extension("headrace.base_path", "envoy.extensions.filters.http.lua.v3.Lua", {"default_source_code": code})]


def _grpc_web() -> Config:
    # Calls of clients behind a proxy that knows neither HTTP/2 nor trailers, such as JupyterHub's.
    return extension("envoy.filters.http.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb")


def _rate_limit(rate: int) -> Config:
    everything = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return extension(
        "envoy.filters.http.local_ratelimit",
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        {
            "stat_prefix": "public",
            "token_bucket": {"max_tokens": rate, "tokens_per_fill": max(1, rate // 10), "fill_interval": "0.1s"},
            "filter_enabled": everything,
            "filter_enforced": everything,
        },
    )


def _decisions() -> Config:
    script = (files("headrace_proxy.envoy") / "decisions.lua").read_text(encoding="utf-8")
    return extension(
        DECISIONS, "envoy.extensions.filters.http.lua.v3.Lua", {"default_source_code": {"inline_string": script}}
    )


def _ext_authz() -> Config:
    # On for every route that does not switch it off, so that a new route is closed by default.
    known = {"filter": "headrace.decisions", "path": [{"key": "known"}], "value": {"bool_match": True}, "invert": True}
    return extension(
        EXT_AUTHZ,
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        {
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": AUTHZ}, "timeout": "2s"},
            "failure_mode_allow": False,
            "filter_enabled_metadata": known,
            "status_on_error": {"code": "ServiceUnavailable"},
            "validate_mutations": True,
        },
    )


def router() -> Config:
    """The last filter, which follows a route."""
    # Otherwise headers such as x-envoy-original-path reach services and dashboards.
    return extension(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        {"suppress_envoy_headers": True},
    )
