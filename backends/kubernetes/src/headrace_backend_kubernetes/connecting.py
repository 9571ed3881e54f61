"""Connects to the API server, as the settings say, by the official client."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject

from headrace_backend_kubernetes.api import Api
from headrace_backend_kubernetes.config import Settings
from headrace_backend_kubernetes.faults import Unreachable
from headrace_backend_kubernetes.pace import Pace
from headrace_backend_kubernetes.requests import Requests
from headrace_chassis.logs import get_logger
from headrace_controller.backends.contact import ContactRecord

log = get_logger()

# A log that is followed may say nothing for hours, and so does one whose API server is gone. So the kernel asks the
# other end, and breaks the connection within a minute. Load balancers in between do not forget it either.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}

_TURNS_TO_CLOSE = 100  # of the event loop, which sees the end of a connection and closes it: some three

_RENEW_SECONDS = 60.0  # a plugin is only asked again some minutes before its token expires
_CREDENTIALS_SECONDS = 10.0
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def connect(settings: Settings, contact: ContactRecord | None = None) -> Api:
    """Connects as the settings say; raises `Unreachable` if they lead nowhere. Nothing is requested yet.

    `contact` records whether the API server answers.
    """
    configuration = Configuration()
    configuration.connection_pool_maxsize = 0  # each log and watch holds one; what changes something is bounded here
    try:
        namespace = await _load(settings, configuration)
    except (config.ConfigException, OSError) as error:
        raise Unreachable(error) from error
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    configuration.client_session_kwargs = {"trust_env": False}
    pace = Pace(settings.requests_per_second, settings.burst, clock=time.monotonic)
    api_client = ApiClient(configuration)
    api_client.rest_client = _Connections(configuration)
    requests = Requests(api_client, pace=pace, contact=contact or ContactRecord())
    return Api(requests, settings.namespace or namespace)


async def _load(settings: Settings, configuration: Configuration) -> str:
    """Fills a configuration; returns the namespace that it names."""
    if settings.kubeconfig is None:
        await _load_own(configuration)
        _keep_renewed(configuration, _load_own)
        return await asyncio.to_thread(_own_namespace)
    loader = await config.load_kube_config(
        str(settings.kubeconfig), settings.context or None, client_configuration=configuration, persist_config=False
    )
    _keep_renewed(configuration, loader.load_and_set)
    return str(loader.current_context["context"].get("namespace") or "default")


async def _load_own(configuration: Configuration) -> None:
    config.load_incluster_config(client_configuration=configuration)


def _keep_renewed(configuration: Configuration, load: Callable[[Configuration], Awaitable[None]]) -> None:
    """Has credentials read again, before requests: tokens of files and of plugins expire."""
    hooked, read_at = cast("Any", configuration), time.monotonic()

    async def renew(_configuration: Configuration) -> None:
        nonlocal read_at
        if time.monotonic() - read_at < _RENEW_SECONDS:
            return
        read_at = time.monotonic()
        try:
            async with asyncio.timeout(_CREDENTIALS_SECONDS):
                await load(configuration)
        except (config.ConfigException, OSError, TimeoutError, ValueError) as error:
            log.warning("credentials for the API server cannot be read again; will try again", error=repr(error))
        finally:
            hooked.refresh_api_key_hook = renew  # one of the client's own may be in its place

    hooked.refresh_api_key_hook = renew


def _proxy(server: str) -> str | None:
    """The environment's proxy for the API server. aiohttp would look it up for each request, in a thread."""
    url = urlsplit(server)
    return None if proxy_bypass(url.netloc) else getproxies().get(url.scheme)


def _own_namespace() -> str:
    return _OWN_NAMESPACE.read_text(encoding="utf-8").strip()


class _Connections(RESTClientObject):
    """Ends all connections when it is closed.

    A request that is cancelled leaves its connection to TLS, which waits until the server agrees that it ends, and
    aiohttp does not know of it any longer.
    """

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self._sockets = WeakSet[socket.socket]()

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=self._open)

    def _open(self, address: tuple[int, int, int, str, Any]) -> socket.socket:
        family, kind, protocol, *_ = address
        opened = socket.socket(family, kind, protocol)
        _keep_alive(opened)
        self._sockets.add(opened)
        return opened

    async def close(self) -> None:
        await super().close()
        for left in self._sockets:
            with suppress(OSError):  # it has been closed, or is not connected
                left.shutdown(socket.SHUT_RDWR)
        for _ in range(_TURNS_TO_CLOSE):
            if all(left.fileno() < 0 for left in self._sockets):
                return
            await asyncio.sleep(0)


def _keep_alive(opened: socket.socket) -> None:
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # not everywhere
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
