"""The gRPC server that Envoys speak xDS with: apart from the chassis' servers, since it is none of our own RPCs."""

from __future__ import annotations

import grpc

from headrace_chassis.tls.listener import bind
from headrace_proxy.config import Settings
from headrace_proxy.xds.ads import DeltaDiscovery

_OPTIONS = (
    # Envoy pings every 5 s; gRPC's default would hang up on that.
    ("grpc.http2.min_ping_interval_without_data_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    # Its first request lists all that an Envoy has.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.so_reuseport", 0),
)


async def start_xds_server(settings: Settings, discovery: DeltaDiscovery) -> grpc.aio.Server:
    """Starts the server at `xds_listen`."""
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers([discovery.handler()])
    bind(server, settings.xds_listen, settings, internal=True)
    await server.start()
    return server
