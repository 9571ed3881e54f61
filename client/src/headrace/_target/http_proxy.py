"""The HTTP proxy on the way to headrace: from the setting ``headrace.http-proxy`` or the environment."""

from __future__ import annotations

import os
import socket
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit
from urllib.request import (
    getproxies_environment,
    proxy_bypass_environment,  # pyright: ignore[reportAttributeAccessIssue] - missing in its stubs
)

from headrace._target import config
from headrace.errors import InvalidRequest, Violation

_SETTING = "http-proxy"


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """A proxy that connects to hosts by CONNECT.

    Attributes
    ----------
    address
        ``http://host:port``, maybe with a user and a password.
    source
        Where it is configured, for messages: "the environment variable https_proxy".
    """

    address: str = field(repr=False)
    source: str

    @property
    def host(self) -> str:
        return urlsplit(self.address).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 80

    @property
    def login(self) -> str:
        """The header that logs in at the proxy, or ""."""
        parts = urlsplit(self.address)
        if parts.username is None:
            return ""
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return f"Proxy-Authorization: Basic {b64encode(pair.encode()).decode()}\r\n"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the HTTP proxy {host}:{self.port} ({self.source})"


def find_http_proxy(host: str, scheme: str) -> HttpProxy | None:
    """Return the proxy on the way to a host, or None. The way to this machine has none.

    Raises
    ------
    InvalidRequest
        The setting has a wrong value.
    """
    setting = config.get(_SETTING)
    if setting is False or is_this_machine(host):
        return None
    if setting is None or setting is True:
        return _from_environment(host, scheme)
    proxy = _parse(setting.strip(), f"the setting headrace.{_SETTING}") if isinstance(setting, str) else None
    if proxy is None:
        description = "must be true (the proxy of the environment), false (none), or look like http://host:port"
        raise InvalidRequest.of(Violation(f"headrace.{_SETTING}", description))
    return proxy


def is_this_machine(host: str) -> bool:
    """Return whether this is a name or an address of this machine. It asks no name server."""
    try:
        address = ip_address(host)
    except ValueError:
        own = socket.gethostname().lower()
        name = host.lower().rstrip(".")
        return name in {"localhost", own, own.partition(".")[0]} or name.endswith(".localhost")
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))  # only an address of this machine can be bound
    except OSError:
        return False
    return True


def _from_environment(host: str, scheme: str) -> HttpProxy | None:
    found = getproxies_environment()
    if proxy_bypass_environment(host, found):
        return None
    for kind in ("grpc", scheme):
        if (proxy := _parse(found.get(kind, ""), "")) is not None:
            name = next(name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name])
            return HttpProxy(proxy.address, f"the environment variable {name}")
    return None


def _parse(text: str, source: str) -> HttpProxy | None:
    """Return the proxy, or None if this is not the address of one that gRPC can use."""
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    return HttpProxy(f"http://{parts.netloc}", source) if usable else None
