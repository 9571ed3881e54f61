"""Connects to the API server, as the settings say, by the official client."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
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


class _Connector(aiohttp.TCPConnector):
    """Knows its connections until they have ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.transports: set[asyncio.Transport] = set()  # uvloop's take no weak references

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if connection.transport and connection.transport not in self.transports:
            _keep_alive(connection.transport)
            self.transports = {each for each in self.transports if not each.is_closing()} | {connection.transport}
        return connection


def _keep_alive(transport: asyncio.Transport) -> None:
    opened = transport.get_extra_info("socket")
    if opened is None or opened.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # not everywhere
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _Connections(RESTClientObject):
    """Ends all connections when it is closed. After a cancelled request TLS would wait for the server to agree."""

    _connector: _Connector | None = None

    def _create_connector(self) -> aiohttp.TCPConnector:
        self._connector = _Connector(limit=self.maxsize, ssl=self.ssl_context)
        return self._connector

    async def close(self) -> None:
        await super().close()
        for transport in self._connector.transports if self._connector else ():
            transport.abort()
        await asyncio.sleep(0)  # what was aborted is closed by the event loop, one turn for TLS and one for TCP
        await asyncio.sleep(0)
