"""Dask's comm for ``gateway://host:port/<cluster>``: TLS to the scheduler, through the proxy or directly.

The proxy routes by the TLS server name (SNI) and cannot read the traffic. `distributed` finds this module by the entry
point ``distributed.comm.backends``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from distributed.comm.core import Comm, CommClosedError, Connector, FatalCommClosedError
from distributed.comm.registry import Backend, backends
from distributed.comm.tcp import TLS, TLSConnector
from distributed.utils import get_ip
from tornado.iostream import IOStream
from tornado.tcpclient import TCPClient

from headrace import errors
from headrace._dask.scheduler_access import NOTHING_THERE, ClusterContext, SchedulerAccess
from headrace._resumable.dialing import Dialer
from headrace._target import config
from headrace._target.target import join_host_port
from headrace._wire.connection import TRANSIENT

DEFAULT_SNI_SUFFIX = "clusters.headrace.internal"
_NO_DIRECT_ADDRESS = "there is no direct address for cluster {}; set headrace.connect to auto or proxied"
_NO_PROXY = (
    "cluster {} cannot be reached: Dask's traffic is not HTTP and does not pass where an address with a path leads; "
    "set headrace.proxy-address to host:port of headrace's own public port, or ask the administrator for it"
)
_NO_SECURITY = "gateway:// addresses need TLS: use cluster.get_client(), or Client(address, security=cluster.security)"
_CONNECT_SECONDS = 10.0
_TRANSIENT = (*TRANSIENT, errors.DeadlineExceeded)


def parse_address(location: str) -> tuple[str, int, str]:
    """Return host, port and cluster of "host:port/cluster"."""
    parts = urlsplit(f"gateway://{location.removeprefix('gateway://')}")
    cluster = parts.path.strip("/")
    if not parts.hostname or not parts.port or not cluster:
        raise ValueError(f"gateway://{location} must look like gateway://host:port/cluster")
    return parts.hostname, parts.port, cluster


class GatewayConnector(Connector):
    """Connects to the scheduler of a cluster.

    Parameters
    ----------
    other
        Backend of another library for ``gateway://``, for connections that are not ours.
    """

    def __init__(self, other: Backend | None = None) -> None:
        self._other = other

    async def connect(  # pyright: ignore[reportIncompatibleMethodOverride] - the base's methods have only docstrings
        self, address: str, deserialize: bool = True, **connection_args: Any
    ) -> Comm:
        context = connection_args.get("ssl_context")
        if self._other is not None and not isinstance(context, ClusterContext):
            connector: Any = self._other.get_connector()
            return await connector.connect(address, deserialize, **connection_args)
        host, port, cluster = parse_address(address)
        if isinstance(context, ClusterContext):
            return await _connect_to_cluster(context.access, join_host_port(host, port), deserialize)
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(_NO_SECURITY)
        server_name = connection_args.get("server_hostname") or f"{cluster}.{DEFAULT_SNI_SUFFIX}"
        return await RetryableTLSConnector().connect(
            join_host_port(host, port), deserialize, ssl_context=context, server_hostname=server_name
        )


async def _connect_to_cluster(access: SchedulerAccess, proxy: str, deserialize: bool) -> Comm:
    """Return a comm that outlives its connections, if the scheduler can do that and a grace is wanted."""
    access.doubt_closed()
    comm = await _open(access, proxy, deserialize)
    if isinstance(comm, TLS):
        access.opened(comm)
    return comm


async def _open(access: SchedulerAccess, proxy: str, deserialize: bool) -> Comm:
    if not access.absences.grace:
        comm = await _dial_prepared(access, proxy, access.context)
        comm.deserialize = deserialize
        return comm

    async def dial() -> TLS:
        return await _dial_prepared(access, proxy, access.resumable_context)

    dialer = Dialer(dial, access.absences, access.doubt)
    if access.absences.seconds is not None:
        return dialer.open_later(f"tls://{proxy}", deserialize)
    return await dialer.open(deserialize)


async def _dial_prepared(access: SchedulerAccess, proxy: str, context: ssl.SSLContext) -> TLS:
    """Connect with a certificate that is valid. After failures, find out whether there is something to connect to."""
    await _ask_headrace(access, access.ready)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            comm = await _dial(access, proxy, context)
    except FatalCommClosedError:
        raise
    except OSError:
        await _ask_headrace(access, access.failed)
        raise
    access.succeeded()
    return comm


async def _ask_headrace(access: SchedulerAccess, ask: Callable[[], Awaitable[None]]) -> None:
    try:
        await ask()
    except _TRANSIENT as error:
        raise CommClosedError(str(error)) from error
    except errors.HeadraceError as error:
        if isinstance(error, NOTHING_THERE):
            access.give_up(error)
        raise FatalCommClosedError(str(error)) from error


async def _dial(access: SchedulerAccess, proxy: str, context: ssl.SSLContext) -> TLS:
    if access.mode == "direct" and not access.direct_address:
        raise FatalCommClosedError(_NO_DIRECT_ADDRESS.format(access.cluster))
    if access.direct() and (comm := await _try_direct(access, context)) is not None:
        return comm
    if not access.has_proxy:
        raise FatalCommClosedError(_NO_PROXY.format(access.cluster))
    return await _connect(proxy, context, access)


async def _try_direct(access: SchedulerAccess, context: ssl.SSLContext) -> TLS | None:
    location = access.direct().partition("://")[2]
    if access.mode == "direct":
        return await _connect(location, context, access)
    try:
        async with asyncio.timeout(config.get_seconds("timeouts.direct")):
            return await _connect(location, context, access)
    except (OSError, TimeoutError):
        access.direct_failed()
        return None


async def _connect(location: str, context: ssl.SSLContext, access: SchedulerAccess) -> TLS:
    comm = await RetryableTLSConnector().connect(location, ssl_context=context, server_hostname=access.server_name)
    assert isinstance(comm, TLS)
    return comm


class _Attempt(TCPClient):
    """One attempt to connect. Cancelled, it closes its sockets.

    Tornado's own loses the socket if the attempt is cancelled between the connection and its announcement.
    """

    def __init__(self) -> None:
        super().__init__(TLSConnector.client.resolver)
        self._streams: list[IOStream] = []

    def _create_stream(self, *args: Any, **kwargs: Any) -> tuple[IOStream, asyncio.Future[IOStream]]:
        stream, connected = super()._create_stream(*args, **kwargs)
        self._streams.append(stream)
        return stream, connected

    async def connect(self, *args: Any, **kwargs: Any) -> IOStream:
        try:
            return await super().connect(*args, **kwargs)
        except asyncio.CancelledError:
            for stream in self._streams:
                stream.close()
            raise


# Who answers speaks no TLS, or refuses this certificate or every version and cipher that there is.
_FOR_GOOD = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)


class RetryableTLSConnector(TLSConnector):
    """Takes a connection that breaks before its handshake is over for one that may be tried again.

    A proxy that ends, or has just started, breaks it. The base gives up then, or lets an error of tornado's pass.
    """

    def __init__(self) -> None:
        self.client = _Attempt()  # pyright: ignore[reportAttributeAccessIssue] - the base's are one for all

    async def connect(self, address: str, deserialize: bool = True, **connection_args: Any) -> Comm:
        broken = f"the connection to {address} was closed before its TLS handshake was over"
        try:
            return await super().connect(address, deserialize, **connection_args)
        except FatalCommClosedError as error:
            # The cause says how the handshake was cut off, in OpenSSL's many words; these will not be better next time.
            cause = error.__cause__
            for_good = isinstance(cause, ssl.SSLCertVerificationError) or getattr(cause, "reason", None) in _FOR_GOOD
            if isinstance(cause, ssl.SSLError) and not for_good:
                raise CommClosedError(broken) from error
            raise
        except ValueError as error:  # tornado's, where the handshake has not even begun
            raise CommClosedError(broken) from error


class GatewayBackend(Backend):
    """How `distributed` handles ``gateway://`` addresses."""

    def __init__(self, other: Backend | None = None) -> None:
        self._other = other

    def get_connector(self) -> GatewayConnector:  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        return GatewayConnector(self._other)

    def get_listener(self, loc: str, handle_comm: object, deserialize: bool, **connection_args: Any) -> Any:
        raise NotImplementedError("nothing listens at gateway:// addresses; schedulers listen at tls://")

    def get_address_host(self, loc: str) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        return parse_address(loc)[0]

    def get_address_host_port(self, loc: str) -> tuple[str, int]:
        return parse_address(loc)[:2]

    def resolve_address(self, loc: str) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        return loc

    def get_local_address_for(self, loc: str) -> str:  # pyright: ignore[reportIncompatibleMethodOverride] - as above
        host, port, cluster = parse_address(loc)
        return f"{get_ip(host)}:{port}/{cluster}"


def register() -> None:
    """Handle ``gateway://`` in this process; dask-gateway, if it is imported, would handle all of them itself."""
    present = backends.get("gateway")
    if not isinstance(present, GatewayBackend):
        backends["gateway"] = GatewayBackend(present)
