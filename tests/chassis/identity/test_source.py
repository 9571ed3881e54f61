"""Where a call comes from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from headrace_chassis.identity.source import source_of

PROXIES = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "source"),
    [
        ("unix:", "203.0.113.9", "203.0.113.9"),
        ("unix:", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first is what the caller said
        ("ipv4:127.0.0.1:40000", "203.0.113.9", "203.0.113.9"),
        ("ipv6:%5B::1%5D:40000", "203.0.113.9", "203.0.113.9"),
        ("ipv4:203.0.113.7:40000", "198.51.100.1", "203.0.113.7"),  # no proxy: it may say what it likes
        ("ipv6:[2001:db8::1]:40000", "198.51.100.1", "2001:db8::/64"),
        ("unix:", "2001:db8:0:0:1:2:3:4", "2001:db8::/64"),
        ("unix:", "::ffff:203.0.113.9", "203.0.113.9"),
        ("unix:", "", "local"),
        ("unix:", "nonsense", "local"),
        ("ipv4:127.0.0.1:40000", "nonsense", "127.0.0.1"),
        ("", "", "local"),
    ],
)
def test_a_proxy_is_believed_and_nobody_else(peer: str, forwarded_for: str, source: str) -> None:
    assert source_of(peer, {"x-forwarded-for": forwarded_for}, PROXIES) == source


def test_without_the_header_it_is_the_peer() -> None:
    assert source_of("ipv4:127.0.0.1:40000", {}, PROXIES) == "127.0.0.1"
