"""At which hosts dashboards are: each at one of its own where there is a domain for them, else all at the gateway's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DashboardOrigins:
    """Hosts of dashboards: ``<cluster>.<domain>``; the domain is "" where there is none."""

    domain: str = ""

    def is_for(self, host: str, cluster: str) -> bool:
        """Whether a request to a host may be for a cluster's dashboard. Each host is one cluster's or the gateway's."""
        name = _name(host)
        return not self.domain or not name.endswith(f".{self.domain}") or name == f"{cluster}.{self.domain}"

    def base(self, host: str, cluster: str) -> str:
        """What stands before the path of a dashboard's pages: "" for the host that the request came to."""
        if not self.domain:
            return ""
        return f"https://{cluster}.{self.domain}{host.removeprefix(_name(host))}"


def _name(host: str) -> str:
    """The host without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
