"""Where calls come from, as Envoy reports it to services."""

from __future__ import annotations

import grpc
import psutil
from tests.proxy.fake_services import FakeServices

from headrace_chassis.identity.source import LOCAL, source_of


def addresses_of_this_machine() -> set[str]:
    found = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return {source_of("unix:", {"x-forwarded-for": address}, ()) for address in found} - {LOCAL}


async def test_a_caller_cannot_say_where_its_calls_come_from(
    channel: grpc.aio.Channel, services: dict[str, FakeServices]
) -> None:
    claimed = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "203.0.113.8, 203.0.113.7"),
        ("x-envoy-external-address", "203.0.113.6"),
    ]
    await channel.unary_unary("/headrace.v1.AuthService/Echo")(b"", metadata=claimed)
    source = source_of("unix:", services["auth"].metadata, ())
    assert source in addresses_of_this_machine()
