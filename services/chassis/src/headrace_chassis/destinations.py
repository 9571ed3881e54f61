"""Where routes may lead. Agents report the addresses of routes, and an agent runs beside a tenant's code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from headrace_chassis.addresses import host_port, unix_path

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

_NEVER = (
    *("0.0.0.0/8", "::/128"),  # unspecified: the machine itself
    *("169.254.0.0/16", "fe80::/10"),  # link-local, with the metadata services of most clouds
    *("100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/32"),  # metadata services of others
    *("224.0.0.0/3", "ff00::/8"),  # multicast and reserved
    *("::ffff:0:0/96", "64:ff9b::/96", "2002::/16"),  # IPv6 addresses that stand for any IPv4 address
)
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_EVERYWHERE = ("0.0.0.0/0", "::/0")


def _check_ports(ports: str) -> str:
    first, _, last = ports.partition("-")
    if not 0 < int(first) <= int(last or first) < 65536:
        raise ValueError(f"{ports!r} is not a range of ports such as 1024-65535")
    return ports


class Destination(BaseModel):
    """A network, and a range of ports there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: IpNetwork = Field(description='Network, such as "10.0.0.0/8".')
    ports: Annotated[str, AfterValidator(_check_ports)] = Field(
        default="1-65535", pattern=r"^[0-9]{1,5}(-[0-9]{1,5})?$", description='Ports, such as "1024-65535".'
    )

    @property
    def port_range(self) -> range:
        first, _, last = self.ports.partition("-")
        return range(int(first), int(last or first) + 1)

    def contains(self, ip: IpAddress, port: int) -> bool:
        return ip in self.network and port in self.port_range


class BadDestination(ValueError):
    """No route may lead to this address; the message says why."""


@dataclass(frozen=True, slots=True)
class Destinations:
    """What routes may lead to.

    Attributes
    ----------
    allowed
        Networks and ports; empty for all.
    refused
        What routes never lead to, even if it is allowed.
    """

    allowed: tuple[Destination, ...]
    refused: tuple[Destination, ...]

    @classmethod
    def of(cls, allowed: Iterable[Destination], own: Iterable[str]) -> Destinations:
        """Take what a setting allows and the addresses of headrace's own listeners and services.

        Loopback is refused unless an entry is for it alone.
        """
        entries = tuple(allowed)
        refused = list(_destinations(_NEVER))
        if not any(entry.network.is_loopback for entry in entries):
            refused += _destinations(_LOOPBACK)
        for address in own:
            refused += _own(address)
        return cls(entries, tuple(refused))

    def read(self, address: str) -> tuple[str, int]:
        """Read ``ip:port`` or ``[ip]:port``; raise `BadDestination` unless a route may lead there."""
        ip, port = _parse(address)
        if by := next((each for each in self.refused if each.contains(ip, port)), None):
            raise BadDestination(f"no route may lead to {address}: {by.network}, ports {by.ports}, is refused")
        if self.allowed and not any(each.contains(ip, port) for each in self.allowed):
            raise BadDestination(f"no route may lead to {address}: the setting allowed_destinations does not have it")
        return str(ip), port


def _parse(text: str) -> tuple[IpAddress, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise BadDestination(f"address {text[:80]!r} is not of the form ip:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        return ip_address(host), int(port)
    except ValueError:
        raise BadDestination(f"address {text[:80]!r} has no IP address") from None


def _destinations(networks: Iterable[str], ports: str = "1-65535") -> Iterator[Destination]:
    return (Destination(network=ip_network(network), ports=ports) for network in networks)


def _own(address: str) -> Iterable[Destination]:
    """Where a ``host:port`` of ours can be reached. Unix sockets cannot, and names of other hosts are not resolved."""
    if not address or unix_path(address):
        return ()
    host, port = host_port(address)
    try:
        ip = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return ()
    if not port:
        return ()
    return _destinations(_EVERYWHERE if ip.is_unspecified else _LOOPBACK if ip.is_loopback else (str(ip),), str(port))
