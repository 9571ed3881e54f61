"""Envoy's own metrics for Prometheus: one page of its admin interface, for who sends the token."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from headrace_proxy.envoy.http_connections import router
from headrace_proxy.envoy.parts import Config, extension, listening

METRICS_PATH = "/stats/prometheus"
UPSTREAM = "admin"
# Readers of metrics are few. These are not counted towards the port's connections, so that a full port can be seen.
_MOST_CONNECTIONS = 100


def metrics_listener(address: str, token_file: Path) -> Config:
    """A listener for the page and nothing else. The token is read for each request, as the services do it."""
    return {
        "name": "metrics",
        "address": listening(address),
        "enable_reuse_port": False,
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [_connection_limit(), _http(token_file)]}],
    }


def admin_upstream(socket: Path) -> Config:
    """Envoy itself: its admin interface."""
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "name": UPSTREAM,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": UPSTREAM, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _connection_limit() -> Config:
    return extension(
        "envoy.filters.network.connection_limit",
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        {"stat_prefix": "metrics", "max_connections": _MOST_CONNECTIONS},
    )


def _http(token_file: Path) -> Config:
    get = {"name": ":method", "string_match": {"exact": "GET"}}
    page = {
        "match": {"path": METRICS_PATH, "headers": [get]},
        "route": {"cluster": UPSTREAM, "timeout": "30s"},
    }
    rest = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    return extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        {
            "stat_prefix": "metrics",
            "server_name": "headrace",
            "common_http_protocol_options": {"idle_timeout": "120s"},
            "request_headers_timeout": "10s",
            "request_timeout": "30s",
            "http_filters": [_bearer(token_file), router()],
            "route_config": {"virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [page, rest]}]},
        },
    )


def _bearer(token_file: Path) -> Config:
    script = (files("headrace_proxy.envoy") / "bearer.lua").read_text(encoding="utf-8")
    path = "".join(f"\\{byte:03}" for byte in str(token_file).encode())  # any path is a string of Lua in this way
    code = {"inline_string": f'local TOKEN_FILE = "{path}"\n{script}'}
    return extension("headrace.bearer", "envoy.extensions.filters.http.lua.v3.Lua", {"default_source_code": code})
