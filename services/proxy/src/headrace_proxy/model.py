"""Routes: which cluster is reached where, and which of them may be served."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

_CLUSTER_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address with a port."""

    ip: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads ``ip:port`` or ``[ip]:port``; raises ValueError with what is wrong."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"{text[:80]!r} is not of the form ip:port")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        return cls(str(ipaddress.ip_address(host)), int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How a cluster is reached; the addresses are as the controller wrote them, empty where not known."""

    cluster: str
    owner: str = ""
    scheduler_address: str = ""
    dashboard_address: str = ""

    def fault(self) -> str:
        """Returns why this route cannot be served, or nothing."""
        if not _CLUSTER_ID.fullmatch(self.cluster):
            return f"cluster id {self.cluster[:80]!r} is not a DNS label"
        try:
            if self.scheduler_address:
                Address.parse(self.scheduler_address)
        except ValueError as error:
            return f"scheduler address: {error}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteStep:
    """A step of the controller's routes: everything (`snapshot`), or what has changed since the step before."""

    version: str
    snapshot: bool
    routes: Sequence[Route] = ()
    removed: Collection[str] = field(default=())

    def apply(self, routes: Mapping[str, Route]) -> Mapping[str, Route]:
        """Returns the routes after this step."""
        kept = {} if self.snapshot else dict(routes)
        for cluster in self.removed:
            kept.pop(cluster, None)
        kept.update((route.cluster, route) for route in self.routes)
        return kept
