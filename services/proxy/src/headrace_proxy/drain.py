"""``python -m headrace_proxy drain``: moves the connections of an Envoy that is about to end to others.

It runs beside the proxy of that Envoy, as a hook before both are stopped. The connections are counted by Envoy.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from typing_extensions import override

from headrace.errors import GatewayServerError
from headrace_chassis.addresses import host_port
from headrace_proxy.app import REDIAL_SIGNAL
from headrace_proxy.config import Settings
from headrace_proxy.envoy.bootstrap import admin_socket
from headrace_proxy.state_directory import running_proxy

_TIMEOUT_SECONDS = 5.0
_POLL_SECONDS = 0.2

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class DrainTimes:
    """How to drain.

    Attributes
    ----------
    delay
        Seconds until load balancers send new connections elsewhere.
    seconds
        Seconds within which connections may move, after the delay.
    connections
        Number of connections that count as few: the drain ends with them.
    """

    delay: float
    seconds: float
    connections: int


def drain(settings: Settings, times: DrainTimes, tell: Tell) -> None:
    """Drain Envoy; return when few connections are left or the time is over.

    Raise `GatewayServerError` if Envoy does not answer.
    """
    admin = _Admin(settings)
    active = admin.connections()
    tell(f"Open: {_count(active)}; new ones are accepted for {times.delay:g} s, until load balancers send none")
    time.sleep(times.delay)
    admin.ask("POST", "/drain_listeners?graceful")
    if (proxy := running_proxy(settings.state_directory)) is not None:
        os.kill(proxy, REDIAL_SIGNAL)
        tell("Envoy drains, and Dask clients are asked to connect again")
    else:
        tell("Envoy drains; no proxy runs here, so nobody asks Dask clients to connect again")
    end = time.monotonic() + times.seconds
    while (active := admin.connections()) > times.connections and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    tell(f"Left: {_count(active)}" + (", until Envoy ends" if active else ""))


def _count(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"


class _Admin:
    """Envoy's admin interface."""

    def __init__(self, settings: Settings) -> None:
        path = admin_socket(settings.state_directory)
        if path is None:
            raise GatewayServerError(
                f"Envoy has no admin socket, because the path {settings.state_directory} is too long for one: choose "
                "another directory with HEADRACE_PROXY_STATE_DIRECTORY"
            )
        self._path = path
        self._statistic = f"_{host_port(settings.public_listen)[1]}.downstream_cx_active"

    def connections(self) -> int:
        """Return how many connections the public port has."""
        for line in self.ask("GET", "/stats?filter=downstream_cx_active$").splitlines():
            name, _, value = line.partition(": ")
            if name.startswith("listener.") and name.endswith(self._statistic):
                return int(value)
        return 0

    def ask(self, method: str, target: str) -> str:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            content = answer.read().decode()
        except (OSError, HTTPException) as error:
            raise GatewayServerError(f"Envoy does not answer at {self._path} ({error}): is it running?") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise GatewayServerError(f"Envoy answers {target} with {answer.status}: {content[:200].strip()}")
        return content


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
