"""Where routes may lead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace_chassis.destinations import BadDestination, Destination, Destinations

OWN = ("127.0.0.1:8790", "0.0.0.0:18000", "unix:/run/auth", "auth.example:443", "10.0.0.1:6379", "")
LOCAL = {"network": "127.0.0.0/8"}
RANGE = {"network": "10.0.0.0/8", "ports": "30000-40000"}


def destinations(*allowed: dict[str, str]) -> Destinations:
    return Destinations.of([Destination.model_validate(each) for each in allowed], OWN)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254:80", "[fe80::1]:80", "[fe80::1%eth0]:80", "100.100.100.200:80", "[fd00:ec2::254]:80"),
        *("0.0.0.0:80", "[::]:80", "0.1.2.3:80", "224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80"),
        *("[::ffff:169.254.169.254]:80", "[::ffff:127.0.0.1]:80", "[64:ff9b::a9fe:a9fe]:80", "[2002:7f00:1::]:80"),
        *("127.0.0.1:8790", "127.9.9.9:8790", "10.0.0.7:18000", "127.0.0.1:18000", "10.0.0.1:6379"),
        *("", ":", "10.0.0.7", "10.0.0.7:0", "10.0.0.7:65536", "10.0.0.7:٣", "host:80", "2130706433:80", "127.1:80"),
    ],
)
@pytest.mark.parametrize("allowed", [(), (LOCAL, {"network": "0.0.0.0/0"}, {"network": "::/0"})])
def test_nothing_allows_a_route_there(address: str, allowed: tuple[dict[str, str], ...]) -> None:
    with pytest.raises(BadDestination):
        destinations(*allowed).read(address)


def test_by_default_processes_are_on_other_machines() -> None:
    assert destinations().read("10.0.0.7:8786") == ("10.0.0.7", 8786)
    assert destinations().read("[fd00::7]:8786") == ("fd00::7", 8786)
    for address in ("127.0.0.1:4000", "[::1]:4000"):
        with pytest.raises(BadDestination, match="is refused"):
            destinations().read(address)


def test_loopback_is_allowed_by_an_entry_of_its_own_only() -> None:
    assert destinations(LOCAL).read("127.0.0.1:4000") == ("127.0.0.1", 4000)
    with pytest.raises(BadDestination):
        destinations({"network": "0.0.0.0/0"}).read("127.0.0.1:4000")
    with pytest.raises(BadDestination, match="allowed_destinations does not have it"):
        destinations(LOCAL).read("10.0.0.7:4000")


def test_ports_are_bounded() -> None:
    assert destinations(RANGE).read("10.0.0.7:40000") == ("10.0.0.7", 40000)
    for address in ("10.0.0.7:29999", "10.0.0.7:40001", "11.0.0.7:40000"):
        with pytest.raises(BadDestination):
            destinations(RANGE).read(address)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        _, port = destinations().read(text)
    except BadDestination:
        return
    assert 0 < port < 65536


@pytest.mark.parametrize("ports", ["0", "2-1", "1-65536", "x", "1-", "-1", ""])
def test_wrong_ports_are_refused(ports: str) -> None:
    with pytest.raises(ValidationError):
        Destination(network="10.0.0.0/8", ports=ports)  # type: ignore[arg-type]
