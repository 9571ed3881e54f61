"""Connections to schedulers through a real Envoy."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.conftest import SUFFIX
from tests.proxy.fake_scheduler import FakeScheduler, connect
from tests.proxy.running_proxy import RunningProxy

Eventually = Callable[..., Awaitable[None]]
StartScheduler = Callable[[str], Awaitable[FakeScheduler]]


async def test_a_cluster_is_reached_by_its_sni_and_its_tls_is_not_opened(
    proxy: RunningProxy, controller: FakeRoutes, start_scheduler: StartScheduler, eventually: Eventually
) -> None:
    scheduler = await start_scheduler("ca1")
    version = controller.set("ca1", scheduler.address)
    await eventually(lambda: controller.acknowledged == version)
    connection = await connect(proxy.public, scheduler, f"ca1.{SUFFIX}")
    assert await connection.say("hello") == "ca1: hello"
    connection.close()


async def test_an_acknowledged_route_is_usable_at_once(
    proxy: RunningProxy, controller: FakeRoutes, start_scheduler: StartScheduler, eventually: Eventually
) -> None:
    scheduler = await start_scheduler("many")
    for number in range(30):
        version = controller.set(f"c{number}", scheduler.address)
        await eventually(lambda version=version: controller.acknowledged == version)
        connection = await connect(proxy.public, scheduler, f"c{number}.{SUFFIX}")
        assert await connection.say("x") == "many: x"
        connection.close()


async def test_an_unknown_sni_is_closed_at_once(
    proxy: RunningProxy, controller: FakeRoutes, start_scheduler: StartScheduler
) -> None:
    scheduler = await start_scheduler("ca1")
    for sni in ("unknown", "a.b", "controller", "none"):
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            await connect(proxy.public, scheduler, f"{sni}.{SUFFIX}")
    assert scheduler.connections == 0
