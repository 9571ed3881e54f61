"""The start of the proxy, and what can be wrong then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.fake_routes import FakeRoutes
from tests.proxy.running_proxy import RunningProxy

Eventually = Callable[..., Awaitable[None]]


async def test_a_second_proxy_on_the_same_directory_is_refused(
    proxy: RunningProxy, settings: dict[str, str], directory: Path
) -> None:
    second = RunningProxy(settings | {"listen": f"unix:{directory}/other"})
    await second.spawn()
    assert await second.wait() == 1
    assert f"uses {proxy.state_directory}: stop it, or choose another" in second.printed()


async def test_it_is_ready_once_the_routes_are_known(
    idle_proxy: RunningProxy, settings: dict[str, str], eventually: Eventually
) -> None:
    await idle_proxy.spawn()
    await eventually(lambda: any("not healthy" in line for line in idle_proxy.log), within=60)
    assert not any("ready" in line for line in idle_proxy.log)
    controller = FakeRoutes(settings["route_address"])
    await controller.start()
    await eventually(lambda: any("ready" in line for line in idle_proxy.log))
    await controller.stop()


async def test_last_routes_that_are_damaged_are_not_served(
    idle_proxy: RunningProxy, controller: FakeRoutes, eventually: Eventually
) -> None:
    idle_proxy.state_directory.mkdir()
    (idle_proxy.state_directory / "routes.binpb").write_bytes(b"\xff\xff")
    version = controller.set("c1", "127.0.0.1:9")
    await idle_proxy.start()
    await eventually(lambda: controller.acknowledged == version)
    await eventually(lambda: any("cannot be read" in line for line in idle_proxy.log))


async def test_routes_with_a_fault_are_rejected_and_the_others_served(
    proxy: RunningProxy, controller: FakeRoutes, eventually: Eventually
) -> None:
    controller.set("c1", "not an address")
    controller.set("c2", "127.0.0.1:70000")
    controller.set("under_score", "127.0.0.1:9")
    version = controller.set("good", "127.0.0.1:9")
    await eventually(lambda: controller.acknowledged == version)
    assert controller.rejected == {"clusters/c1", "clusters/c2", "clusters/under_score"}
    version = controller.set("c1", "127.0.0.1:9")
    await eventually(lambda: controller.acknowledged == version)
    assert controller.rejected == {"clusters/c2", "clusters/under_score"}


async def test_routes_that_cannot_be_read_stop_nothing(
    proxy: RunningProxy, controller: FakeRoutes, eventually: Eventually
) -> None:
    controller.set("a/b", "127.0.0.1:9")
    controller.set("c" * 100_000, "127.0.0.1:9")
    controller.set("c" * 200, "127.0.0.1:9")
    version = controller.set("good", "127.0.0.1:9")
    await eventually(lambda: controller.acknowledged == version)
    assert controller.rejected == {"clusters/" + "c" * 200}
    assert len(controller.subscriptions) == 1
    await eventually(lambda: proxy.printed().count("routes cannot be read") == 2)


async def test_routes_that_cannot_be_saved_are_served(
    idle_proxy: RunningProxy, controller: FakeRoutes, eventually: Eventually
) -> None:
    (idle_proxy.state_directory / "routes.binpb" / "in the way").mkdir(parents=True)
    controller.set("c1", "127.0.0.1:9")
    await idle_proxy.start()
    await eventually(lambda: "the routes cannot be saved" in idle_proxy.printed())
    version = controller.set("c2", "127.0.0.1:9")
    await eventually(lambda: controller.acknowledged == version)
    assert await idle_proxy.stop() == 0
