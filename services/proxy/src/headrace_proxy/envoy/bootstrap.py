"""Envoy's bootstrap, as JSON: the listeners, their routes, and the upstreams of services; no cluster."""

from __future__ import annotations

from pathlib import Path

from headrace.errors import GatewayServerError
from headrace_chassis.addresses import UNIX_PATH_BYTES
from headrace_proxy.config import Settings
from headrace_proxy.envoy.listener import public_listener
from headrace_proxy.envoy.metrics_listener import admin_upstream, metrics_listener
from headrace_proxy.envoy.parts import Config, extension
from headrace_proxy.envoy.services import XDS, service_upstreams


def bootstrap(settings: Settings) -> Config:
    listeners, upstreams = _metrics(settings)
    config: Config = {
        "node": {"id": settings.node, "cluster": settings.deployment},
        "static_resources": {
            "listeners": [public_listener(settings), *listeners],
            "clusters": [*service_upstreams(settings), *upstreams],
        },
        "dynamic_resources": _dynamic_resources(),
        "overload_manager": _overload_manager(settings.max_connections),
        # All statistics of 10,000 upstreams would be 1.7 million lines: only these are kept, and created on first use.
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _statistics()}}},
    }
    if admin := admin_socket(settings.state_directory):
        config["admin"] = {"address": {"pipe": {"path": str(admin), "mode": 0o600}}}
    return config


def _metrics(settings: Settings) -> tuple[list[Config], list[Config]]:
    """The listener of Envoy's own metrics and its upstream, if they are wanted."""
    if settings.metrics_token_file is None or not settings.envoy_metrics_listen:
        return [], []
    admin = admin_socket(settings.state_directory)
    if admin is None:
        raise GatewayServerError(
            f"envoy_metrics_listen needs Envoy's admin socket, and the path {settings.state_directory} is too long for "
            "one: choose another directory with HEADRACE_PROXY_STATE_DIRECTORY"
        )
    token = settings.metrics_token_file.absolute()
    return [metrics_listener(settings.envoy_metrics_listen, token)], [admin_upstream(admin)]


def admin_socket(state_directory: Path) -> Path | None:
    """Path of Envoy's admin socket; None where it would be too long for a socket."""
    path = state_directory / "envoy-admin.sock"
    return path if len(str(path)) < UNIX_PATH_BYTES else None


def _dynamic_resources() -> Config:
    # With Envoy's own back-off it may take over 20 s until it connects to a control plane that is back.
    retry = {"retry_back_off": {"base_interval": "0.2s", "max_interval": "1s"}}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": XDS, "retry_policy": retry}}],
        },
        # Envoy listens once it has its upstreams. Without a control plane it listens too, and says what is away.
        "cds_config": {"resource_api_version": "V3", "initial_fetch_timeout": "2s", "ads": {}},
    }


def _overload_manager(max_connections: int) -> Config:
    monitor = extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        {"max_active_downstream_connections": max_connections},
    )
    return {"resource_monitors": [monitor]}


def _statistics() -> list[Config]:
    upstream = r"cluster\.[^.]+\.upstream_cx_(active|total|rx_bytes_total|tx_bytes_total|connect_fail)"
    prefixes = ("cluster_manager.", "control_plane.", "server.", "listener_manager.", "http.public.", "listener.")
    return [{"safe_regex": {"regex": upstream}}, *({"prefix": prefix} for prefix in prefixes)]
