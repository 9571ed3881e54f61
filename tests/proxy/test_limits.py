"""Limits of connections: of one cluster, and of the port."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.conftest import SUFFIX
from tests.proxy.fake_scheduler import Connection, FakeScheduler, connect
from tests.proxy.running_proxy import RunningProxy

StartScheduler = Callable[[str], Awaitable[FakeScheduler]]
Eventually = Callable[..., Awaitable[None]]
REFUSED = (ConnectionResetError, ssl.SSLError)


async def test_a_cluster_that_has_its_connections_refuses_more_and_leaves_others_alone(
    idle_proxy: RunningProxy, controller: FakeRoutes, start_scheduler: StartScheduler, eventually: Eventually
) -> None:
    busy, calm = await start_scheduler("busy"), await start_scheduler("calm")
    controller.set("busy", busy.address)
    controller.set("calm", calm.address)
    await idle_proxy.start(cluster_connections="3")
    held = [await _connect(idle_proxy, busy) for _ in range(3)]
    with pytest.raises(REFUSED):
        await _connect(idle_proxy, busy)
    held.append(await _connect(idle_proxy, calm))
    held.pop(0).close()

    async def has_room() -> bool:
        try:
            held.append(await _connect(idle_proxy, busy))
        except REFUSED:
            return False
        return True

    await eventually(has_room)
    for connection in held:
        connection.close()


async def test_the_public_port_refuses_connections_beyond_its_limit(
    idle_proxy: RunningProxy, controller: FakeRoutes, start_scheduler: StartScheduler
) -> None:
    scheduler = await start_scheduler("ca1")
    controller.set("ca1", scheduler.address)
    await idle_proxy.start(max_connections="5")
    held = [await _connect(idle_proxy, scheduler) for _ in range(5)]
    with pytest.raises(REFUSED):
        await _connect(idle_proxy, scheduler)
    for connection in held:
        connection.close()


async def test_a_thousand_routes_and_more_connections_than_envoys_default_allows(
    idle_proxy: RunningProxy, controller: FakeRoutes, start_scheduler: StartScheduler, eventually: Eventually
) -> None:
    scheduler = await start_scheduler("ca1")
    for number in range(1000):
        controller.set(f"c{number}", "127.0.0.1:9")
    version = controller.set("ca1", scheduler.address)
    await idle_proxy.start()
    await eventually(lambda: controller.acknowledged == version)
    held: list[Connection] = []
    try:
        for _ in range(1200):
            held.append(await _connect(idle_proxy, scheduler))  # noqa: PERF401 those there are to be closed
        assert await held[0].say("x") == "ca1: x"
        assert await held[-1].say("x") == "ca1: x"
    finally:
        for connection in held:
            connection.close()


async def _connect(proxy: RunningProxy, scheduler: FakeScheduler) -> Connection:
    return await connect(proxy.public, scheduler, f"{scheduler.name}.{SUFFIX}")
