"""Routes that would lead where no process of a cluster is, through a real Envoy; nothing may be connected to."""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable

import pytest
from tests.fake_routes import FakeRoutes
from tests.proxy.browser import Browser, asked
from tests.proxy.conftest import LOOPBACK, SUFFIX
from tests.proxy.fake_authz import FakeAuthz
from tests.proxy.fake_dashboard import FakeDashboard
from tests.proxy.fake_scheduler import FakeScheduler, connect
from tests.proxy.running_proxy import RunningProxy

Eventually = Callable[..., Awaitable[None]]
StartScheduler = Callable[[str], Awaitable[FakeScheduler]]
METADATA = "169.254.169.254:80"


async def test_a_scheduler_there_is_rejected_and_its_server_name_is_unknown(
    proxy: RunningProxy, controller: FakeRoutes, start_scheduler: StartScheduler, eventually: Eventually
) -> None:
    scheduler = await start_scheduler("good")
    controller.set("metadata", METADATA)
    controller.set("itself", proxy.public)
    controller.set("elsewhere", "10.0.0.7:8786")
    version = controller.set("good", scheduler.address)
    await eventually(lambda: controller.acknowledged == version)
    assert controller.rejected == {"clusters/metadata", "clusters/itself", "clusters/elsewhere"}
    for cluster in ("metadata", "itself", "elsewhere"):
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            await connect(proxy.public, scheduler, f"{cluster}.{SUFFIX}")
    connection = await connect(proxy.public, scheduler, f"good.{SUFFIX}")
    assert await connection.say("x") == "good: x"
    connection.close()
    await eventually(lambda: "169.254.0.0/16" in proxy.printed())


@pytest.mark.parametrize("address", [METADATA, "[fe80::1]:80", "[::ffff:127.0.0.1]:80", "10.0.0.7:8787"])
async def test_a_dashboard_there_is_refused_by_envoy_too(
    browser: Browser, dashboard: FakeDashboard, authz: FakeAuthz, address: str
) -> None:
    authz.dashboards["bad"] = address
    assert (await browser.get("/clusters/bad/status")).code == 403
    assert asked(await browser.get("/clusters/ca1/status")).server == dashboard.address


async def test_ports_of_our_own_are_no_dashboards(
    idle_proxy: RunningProxy,
    controller: FakeRoutes,
    dashboard: FakeDashboard,
    authz: FakeAuthz,
    browser_of: Browser,
    held_address: Callable[[], str],
) -> None:
    xds = held_address()
    await idle_proxy.start(xds_listen=xds, http_services=json.dumps([_service(dashboard.address)]))
    for name, address in (("public", idle_proxy.public), ("xds", xds), ("service", dashboard.address)):
        authz.dashboards[name] = address
        assert (await browser_of.get(f"/clusters/{name}/status")).code == 403, name
    assert asked(await browser_of.get("/api/x")).server == dashboard.address


async def test_only_ports_that_are_allowed_are_dashboards(
    idle_proxy: RunningProxy, controller: FakeRoutes, dashboard: FakeDashboard, authz: FakeAuthz, browser_of: Browser
) -> None:
    other = FakeDashboard()
    other.start()
    authz.dashboards["other"] = other.address
    allowed = [{**LOOPBACK[0], "ports": dashboard.address.rpartition(":")[2]}]
    await idle_proxy.start(allowed_destinations=json.dumps(allowed))
    assert asked(await browser_of.get("/clusters/ca1/status")).server == dashboard.address
    assert (await browser_of.get("/clusters/other/status")).code == 403
    await other.stop()


def _service(address: str) -> dict[str, str]:
    return {"name": "rest", "prefix": "/api/", "target": address}
