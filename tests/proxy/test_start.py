"""What can be wrong at the start, and what is said about it."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.proxy.conftest import replace
from tests.proxy.fake_controller import FakeController
from tests.proxy.running_proxy import RunningProxy

Eventually = Callable[..., Awaitable[None]]


async def _fails(proxy: RunningProxy) -> str:
    await proxy.spawn()
    assert await proxy.wait() not in (0, None)
    assert proxy.envoys() == []
    return proxy.said()


async def test_a_taken_port_is_told_with_who_has_it(idle_proxy: RunningProxy, controller: FakeController) -> None:
    host, _, port = idle_proxy.public.rpartition(":")
    with socket.create_server((host, int(port))):
        said = await _fails(idle_proxy)
    assert f"port {port} of 127.0.0.1 is taken, by pid {os.getpid()} (" in said
    assert "choose another with HEADRACE_PROXY_PUBLIC_LISTEN" in said
    assert "Traceback" not in said


async def test_a_port_that_another_envoy_has_is_taken_too(
    proxy: RunningProxy, settings: dict[str, str], directory: Path
) -> None:
    changes = {name: f"unix:{directory}/other-{name}" for name in ("listen", "xds_listen")}
    other = RunningProxy(settings | changes | {"state_directory": f"{directory}/other"}, directory / "other")
    assert f"is taken, by pid {proxy.envoys()[0]} (envoy)" in await _fails(other)


async def test_a_second_proxy_on_the_same_directory_is_refused(
    proxy: RunningProxy, settings: dict[str, str], directory: Path
) -> None:
    envoys = proxy.envoys()
    second = RunningProxy(settings | {"listen": f"unix:{directory}/other"}, proxy.state_directory)
    await second.spawn()
    assert await second.wait() == 1
    assert f"uses {proxy.state_directory}; end it, or choose another" in second.said()
    assert proxy.envoys() == envoys


@pytest.mark.parametrize("content", [b"", b"not a key"])
async def test_a_certificate_without_its_key_is_told(
    idle_proxy: RunningProxy, controller: FakeController, settings: dict[str, str], content: bytes
) -> None:
    replace(Path(settings["public_key_file"]), content)
    assert "are not a certificate chain with its private key in PEM" in await _fails(idle_proxy)


async def test_it_is_ready_once_the_routes_are_known(
    idle_proxy: RunningProxy, settings: dict[str, str], eventually: Eventually
) -> None:
    await idle_proxy.spawn()
    await eventually(lambda: any("not healthy" in line for line in idle_proxy.log), within=10)
    controller = FakeController(settings["route_address"])
    version = controller.set("c1", "127.0.0.1:9")
    await controller.start()
    await eventually(lambda: controller.acknowledged == version)
    await eventually(lambda: any("ready" in line for line in idle_proxy.log))
    await controller.stop()


async def test_last_routes_that_are_damaged_are_not_served(
    idle_proxy: RunningProxy, controller: FakeController, eventually: Eventually
) -> None:
    idle_proxy.state_directory.mkdir()
    (idle_proxy.state_directory / "routes.binpb").write_bytes(b"\xff\xff")
    version = controller.set("c1", "127.0.0.1:9")
    await idle_proxy.start()
    await eventually(lambda: controller.acknowledged == version)
    assert any("not readable" in line for line in idle_proxy.log)


async def test_routes_with_a_fault_are_rejected_and_the_others_served(
    proxy: RunningProxy, controller: FakeController, eventually: Eventually
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


async def test_envoy_holds_no_descriptor_of_the_proxy(proxy: RunningProxy) -> None:
    (envoy,) = proxy.envoys()
    assert not _pipes_and_sockets(envoy) & _pipes_and_sockets(proxy.pid)


def _pipes_and_sockets(pid: int) -> set[str]:
    targets = {str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()}
    return {target for target in targets if target.startswith(("pipe:", "socket:"))}
