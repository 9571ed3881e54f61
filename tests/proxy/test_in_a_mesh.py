"""Services, control plane and Envoy on plain TCP, where a service mesh authenticates and encrypts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.fake_services import FakeServices
from tests.proxy.running_proxy import RunningProxy

from headrace_chassis.tls.certificates import Authority

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
def settings(settings: dict[str, str], held_address: Callable[[], str]) -> dict[str, str]:
    """Settings with everything on TCP, without a certificate between services."""
    names = ("listen", "route_address", "auth_target", "authz_target", "controller_target", "xds_listen")
    addresses = {name: held_address() for name in names}
    addresses["xds_listen"] = addresses["xds_listen"].replace("127.0.0.1", "0.0.0.0")
    return settings | addresses


async def test_routes_and_calls_pass_in_plain_if_the_network_is_trusted(
    idle_proxy: RunningProxy,
    controller: FakeRoutes,
    services: dict[str, FakeServices],
    authority: Authority,
    eventually: Eventually,
) -> None:
    await idle_proxy.start(trust_network="true")
    version = controller.set("c1", "127.0.0.1:9")
    await eventually(lambda: controller.acknowledged == version)
    credentials = grpc.ssl_channel_credentials(authority.cert_pem)
    async with grpc.aio.secure_channel(idle_proxy.public, credentials) as channel:
        echo = channel.unary_unary("/headrace.v1.ClusterService/Echo")
        assert await echo(b"hello", timeout=30) == b"hello", "the public port has its own TLS, mesh or not"


async def test_a_plain_control_plane_on_the_network_is_refused_otherwise(idle_proxy: RunningProxy) -> None:
    await idle_proxy.spawn()
    assert await idle_proxy.wait() == 2
    assert "or set trust_network if a service mesh protects the port" in idle_proxy.printed()


async def test_the_proxy_waits_for_a_controller_that_starts_later(
    idle_proxy: RunningProxy, settings: dict[str, str], eventually: Eventually
) -> None:
    """A sidecar may bring the network up after the service has started."""
    await idle_proxy.spawn(trust_network="true")
    await eventually(lambda: "waiting for the controller" in idle_proxy.printed())
    controller = FakeRoutes(settings["route_address"])
    await controller.start()
    controller.set("c1", "127.0.0.1:9")
    await eventually(lambda: "ready" in idle_proxy.printed())
    await controller.stop()
