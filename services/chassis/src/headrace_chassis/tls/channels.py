"""Channels from one service to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import grpc

from headrace_chassis.addresses import unix_path
from headrace_chassis.tls.certificate_files import CertificateFiles, report_files
from headrace_chassis.tls.renewed_channel import RenewedChannel


class TlsFiles(Protocol):
    """Paths of a service's certificate, key and authority. `ServiceSettings` is one."""

    @property
    def tls_certificate_file(self) -> Path | None: ...
    @property
    def tls_key_file(self) -> Path | None: ...
    @property
    def tls_ca_file(self) -> Path | None: ...


OPTIONS: tuple[tuple[str, int | str], ...] = (
    # Services reconnect within half a second of a restart.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # An HTTP proxy for the internet is not for our own services.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 64 << 20),
)
# The address has no host name: gRPC would send the path as authority, which servers refuse.
_UNIX_OPTIONS = (*OPTIONS, ("grpc.default_authority", "localhost"))


def open_channel(
    address: str, tls: TlsFiles, interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
) -> grpc.aio.Channel:
    """Open a channel: plain on a unix socket, mutual TLS on TCP if the service has a certificate.

    Raises `BadTlsFile` if the certificate cannot be used. A renewed one is used from the next call on.
    """
    if unix_path(address) is not None:
        return grpc.aio.insecure_channel(address, options=_UNIX_OPTIONS, interceptors=interceptors)
    if tls.tls_ca_file is None or tls.tls_key_file is None or tls.tls_certificate_file is None:
        return grpc.aio.insecure_channel(address, options=OPTIONS, interceptors=interceptors)

    def open_with(credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(address, credentials, options=OPTIONS, interceptors=interceptors)

    files = CertificateFiles(tls.tls_certificate_file, tls.tls_key_file, tls.tls_ca_file, use=f"calls to {address}")
    channel = RenewedChannel(files, open_with)
    report_files(files)
    return channel
