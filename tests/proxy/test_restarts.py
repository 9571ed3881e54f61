"""Each part dies once, and comes back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.conftest import SUFFIX, replace
from tests.proxy.fake_scheduler import Connection, FakeScheduler, connect
from tests.proxy.running_proxy import RunningProxy

from headrace_chassis.tls.certificates import Authority

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def scheduler(
    proxy: RunningProxy,
    controller: FakeRoutes,
    start_scheduler: Callable[[str], Awaitable[FakeScheduler]],
    eventually: Eventually,
) -> FakeScheduler:
    """The scheduler of cluster `ca1`, which has a route like 20 others."""
    scheduler = await start_scheduler("ca1")
    for number in range(20):
        controller.set(f"c{number}", "127.0.0.1:9")
    version = controller.set("ca1", scheduler.address)
    await eventually(lambda: controller.acknowledged == version)
    return scheduler


async def _works(proxy: RunningProxy, scheduler: FakeScheduler) -> bool:
    try:
        connection = await connect(proxy.public, scheduler, f"ca1.{SUFFIX}")
    except OSError:
        return False
    answer = await connection.say("x")
    connection.close()
    return answer == "ca1: x"


async def _live(proxy: RunningProxy, scheduler: FakeScheduler) -> Connection:
    connection = await connect(proxy.public, scheduler, f"ca1.{SUFFIX}")
    assert await connection.say("1") == "ca1: 1"
    return connection


async def test_routes_come_and_go_while_connections_of_others_live(
    proxy: RunningProxy, controller: FakeRoutes, scheduler: FakeScheduler, eventually: Eventually
) -> None:
    live = await _live(proxy, scheduler)
    for number in range(20, 60):
        controller.set(f"c{number}", "127.0.0.1:9")
    for number in range(59):
        controller.remove(f"c{number}")
    version = controller.set("c59", "127.0.0.1:8")
    await eventually(lambda: controller.acknowledged == version)
    assert await live.say("2") == "ca1: 2"
    live.close()


async def test_a_removed_route_is_closed_to_new_connections_only(
    proxy: RunningProxy, controller: FakeRoutes, scheduler: FakeScheduler, eventually: Eventually
) -> None:
    live = await _live(proxy, scheduler)
    version = controller.remove("ca1")
    await eventually(lambda: controller.acknowledged == version)
    assert not await _works(proxy, scheduler)
    assert await live.say("2") == "ca1: 2"
    live.close()


async def test_a_scheduler_that_moved_is_found_at_its_new_address(
    proxy: RunningProxy, controller: FakeRoutes, scheduler: FakeScheduler, eventually: Eventually
) -> None:
    controller.set("ca1", "127.0.0.1:9")
    version = controller.set("ca1", scheduler.address)
    await eventually(lambda: controller.acknowledged == version)
    assert await _works(proxy, scheduler)


async def test_the_controller_dies_and_nobody_notices(
    proxy: RunningProxy, controller: FakeRoutes, scheduler: FakeScheduler, eventually: Eventually
) -> None:
    live = await _live(proxy, scheduler)
    await controller.stop()
    assert await live.say("2") == "ca1: 2"
    assert await _works(proxy, scheduler)
    removed = controller.remove("c0")
    controller.acknowledged = 0
    await controller.start()
    await eventually(lambda: controller.acknowledged == removed)
    assert await _works(proxy, scheduler)
    assert (controller.subscriptions[-1].reader, controller.subscriptions[-1].acknowledges) == ("proxy-0", True)
    live.close()


async def test_the_proxy_is_killed_and_envoy_serves_on(
    proxy: RunningProxy, controller: FakeRoutes, scheduler: FakeScheduler, eventually: Eventually
) -> None:
    live = await _live(proxy, scheduler)
    await proxy.kill()
    assert await _works(proxy, scheduler)
    added = await proxy.envoy.statistic("cluster_manager.cluster_added")
    modified = await proxy.envoy.statistic("cluster_manager.cluster_modified")

    controller.acknowledged = 0
    await proxy.start()
    await eventually(lambda: controller.acknowledged > 0)
    assert await proxy.envoy.statistic("cluster_manager.cluster_added") == added, "a restart resends nothing"
    assert await proxy.envoy.statistic("cluster_manager.cluster_modified") == modified
    version = controller.set("c99", scheduler.address)
    await eventually(lambda: controller.acknowledged == version)
    assert await live.say("2") == "ca1: 2"
    live.close()


async def test_the_proxy_starts_without_the_controller(
    proxy: RunningProxy, controller: FakeRoutes, scheduler: FakeScheduler, eventually: Eventually
) -> None:
    saved = proxy.state_directory / "routes.binpb"
    await eventually(lambda: saved.exists() and b"ca1" in saved.read_bytes())
    assert await proxy.stop() == 0
    await proxy.envoy.kill()
    await controller.stop()
    await proxy.start()
    await proxy.start_envoy()
    assert await _works(proxy, scheduler)


async def test_an_envoy_that_starts_again_gets_all_routes(
    proxy: RunningProxy, controller: FakeRoutes, scheduler: FakeScheduler, eventually: Eventually
) -> None:
    await proxy.envoy.kill()
    await proxy.start_envoy()
    assert await _works(proxy, scheduler)
    version = controller.set("c99", "127.0.0.1:9")
    await eventually(lambda: controller.acknowledged == version)


async def test_a_new_certificate_is_used_without_a_restart(
    proxy: RunningProxy,
    settings: dict[str, str],
    scheduler: FakeScheduler,
    authority: Authority,
    eventually: Eventually,
) -> None:
    live = await _live(proxy, scheduler)
    key, certificate = Path(settings["public_key_file"]), Path(settings["public_certificate_file"])
    before = await _served_certificate(proxy)
    leaf = authority.issue("renewed", timedelta(hours=1), dns_names=("localhost",))
    replace(key, b"not a key")
    assert await _served_certificate(proxy) == before, "a bad key changes nothing"
    replace(certificate, leaf.cert_pem)
    replace(key, leaf.key_pem)

    async def renewed() -> bool:
        return await _served_certificate(proxy) != before

    await eventually(renewed)
    assert await live.say("2") == "ca1: 2"
    live.close()


async def _served_certificate(proxy: RunningProxy) -> str:
    host, _, port = proxy.public.rpartition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))


async def test_the_controller_hears_that_envoy_is_about_to_end_and_the_connections_stay(
    proxy: RunningProxy, controller: FakeRoutes, scheduler: FakeScheduler, eventually: Eventually
) -> None:
    live = await _live(proxy, scheduler)
    proxy.ask_for_redial()
    await eventually(lambda: controller.redials == 1)
    assert await live.say("2") == "ca1: 2"
    live.close()
    assert await proxy.stop() == 0
    assert controller.redials == 1, "Envoy runs on without its proxy"
