"""Channels from one service to another."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import grpc

from headrace_chassis.addresses import unix_path


class TlsFiles(Protocol):
    """Where a service's certificate lies; `ServiceSettings` is one."""

    @property
    def tls_certificate_file(self) -> Path | None: ...
    @property
    def tls_key_file(self) -> Path | None: ...
    @property
    def tls_ca_file(self) -> Path | None: ...


OPTIONS: tuple[tuple[str, int | str], ...] = (
    # Services find one another again within a second of a restart.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A proxy for the internet is none for one's own services.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
)
# Without a host name in the address, gRPC would send the path as authority, which servers refuse.
_UNIX_OPTIONS = (*OPTIONS, ("grpc.default_authority", "localhost"))


def open_threads_channel(address: str, tls: TlsFiles) -> grpc.Channel:
    """Opens a channel for code that runs in threads, apart from any event loop."""
    if unix_path(address) is not None:
        return grpc.insecure_channel(address, options=_UNIX_OPTIONS)
    if (credentials := _credentials(tls)) is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, credentials, options=OPTIONS)


def open_channel(address: str, tls: TlsFiles) -> grpc.aio.Channel:
    """Opens a channel: plain over a unix socket, mutual TLS over TCP where the service has a certificate."""
    if unix_path(address) is not None:
        return grpc.aio.insecure_channel(address, options=_UNIX_OPTIONS)
    if (credentials := _credentials(tls)) is None:
        return grpc.aio.insecure_channel(address, options=OPTIONS)
    return grpc.aio.secure_channel(address, credentials, options=OPTIONS)


def _credentials(tls: TlsFiles) -> grpc.ChannelCredentials | None:
    if tls.tls_ca_file is None or tls.tls_key_file is None or tls.tls_certificate_file is None:
        return None
    return grpc.ssl_channel_credentials(
        tls.tls_ca_file.read_bytes(), tls.tls_key_file.read_bytes(), tls.tls_certificate_file.read_bytes()
    )
