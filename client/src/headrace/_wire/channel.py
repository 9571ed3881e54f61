"""gRPC channels of the client, and what happens to them when the process forks."""

from __future__ import annotations

import functools
import os
from typing import cast

import grpc
import grpc.aio

from headrace._target.target import Target
from headrace._wire.call_spans import client_tracing, interceptors
from headrace._wire.grpc_web import GrpcWebChannel
from headrace.errors import GatewayServerError

_MIB = 1024 * 1024
_OPTIONS: list[tuple[str, int | str]] = [
    # A page of a thousand ended clusters has a thousand log tails.
    ("grpc.max_receive_message_length", 64 * _MIB),
    # Detects within a minute that the server is gone, also where a firewall drops packets silently.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A server that restarts is back within seconds; gRPC's own back-off grows to minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 10_000),  # for one attempt: a slow line needs time for TLS
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

_opened = False
_forked_from: int | None = None


def open_channel(target: Target) -> grpc.aio.Channel:
    """Open a channel on the running event loop. It connects with the first call."""
    global _opened  # noqa: PLW0603 - gRPC's threads belong to the whole process
    check_not_forked()
    _opened = True
    tracing = client_tracing()
    if target.path:  # below a path is a proxy that does not carry HTTP/2
        return cast("grpc.aio.Channel", GrpcWebChannel(target, tracing))
    options, spans = [*_OPTIONS, _proxy_option(target)], interceptors(tracing) if tracing else ()
    if target.tls:
        credentials = _credentials(target.ca_pem)
        return grpc.aio.secure_channel(target.endpoint, credentials, options=options, interceptors=spans)
    return grpc.aio.insecure_channel(target.endpoint, options=options, interceptors=spans)


def check_not_forked() -> None:
    """Raise an error in a process that was forked from one that had channels.

    gRPC may wait there without end: its threads are not forked, and they outlive a channel's end for a while.
    """
    if _forked_from is not None:
        raise GatewayServerError(
            f"process {os.getpid()} was forked from {_forked_from}, which had used headrace, and gRPC does not survive "
            'a fork: use multiprocessing\'s "spawn" or "forkserver", or fork before the first use of a Gateway'
        )


def _proxy_option(target: Target) -> tuple[str, int | str]:
    if target.http_proxy is None:
        return ("grpc.enable_http_proxy", 0)
    return ("grpc.http_proxy", target.http_proxy.address)


@functools.lru_cache(maxsize=16)
def _credentials(ca_pem: bytes | None) -> grpc.ChannelCredentials:
    # gRPC shares connections only between channels that have the same credentials object.
    return grpc.ssl_channel_credentials(root_certificates=ca_pem)


def _before_fork() -> None:
    global _parent  # noqa: PLW0603
    _parent = os.getpid()


def _after_fork(parent: int) -> None:
    global _forked_from  # noqa: PLW0603 - a fork concerns the whole process
    if _opened:
        _forked_from = parent


_parent = os.getpid()
os.register_at_fork(before=_before_fork, after_in_child=lambda: _after_fork(_parent))
