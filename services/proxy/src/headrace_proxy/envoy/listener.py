"""The public listener. It names no cluster, since a change of the listener would drain every connection."""

from __future__ import annotations

from headrace_proxy.config import Settings
from headrace_proxy.envoy.http_connections import http_connection_manager
from headrace_proxy.envoy.parts import BUFFER_BYTES, Config, extension, listener_keepalive, listening
from headrace_proxy.envoy.secrets import reference


def public_listener(settings: Settings) -> Config:
    """TLS for a cluster passes through unopened; everything else is HTTP."""
    return {
        "name": "public",
        "address": listening(settings.public_listen),
        # Otherwise two Envoys could listen on the port unnoticed, each with half of the connections.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "socket_options": listener_keepalive(),
        "listener_filters": [
            extension(
                "envoy.filters.listener.tls_inspector",
                "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
            )
        ],
        "listener_filters_timeout": f"{settings.hello_timeout_seconds}s",
        "filter_chains": [_schedulers(settings), _http(settings)],
    }


def _schedulers(settings: Settings) -> Config:
    """The server name (SNI) is the name of the upstream; a connection with an unknown one is closed at once."""
    return {
        "name": "schedulers",
        "filter_chain_match": {"server_names": [f"*.{settings.sni_suffix}"]},
        "filters": [
            extension(
                "envoy.filters.network.sni_cluster", "envoy.extensions.filters.network.sni_cluster.v3.SniCluster"
            ),
            extension(
                "envoy.filters.network.tcp_proxy",
                "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                # Idle Dask connections are healthy: no idle time-out (Envoy's default is 1 h).
                {"stat_prefix": "schedulers", "cluster": "none", "idle_timeout": "0s"},
            ),
        ],
    }


def _http(settings: Settings) -> Config:
    return {
        "name": "http",
        "transport_socket_connect_timeout": f"{settings.handshake_timeout_seconds}s",
        "transport_socket": extension(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            {
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                    "tls_certificate_sds_secret_configs": [reference(settings, name) for name in settings.certificates],
                }
            },
        ),
        "filters": [http_connection_manager(settings)],
    }
