"""A real Envoy rejects a resource: the others are served, and the rejected one is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from tests.proxy.conftest import ANYWHERE, SUFFIX
from tests.proxy.fake_scheduler import FakeScheduler, connect
from tests.proxy.running_proxy import RunningEnvoy, read_settings

from headrace_chassis.routes import Route
from headrace_proxy.xds.ads import start_xds_server
from headrace_proxy.xds.distribution import Distribution
from headrace_proxy.xds.messages import UPSTREAM_TYPE, DeltaResource, Upstream
from headrace_proxy.xds.snapshot import Resource, Snapshot
from headrace_proxy.xds.upstream import UpstreamTemplate

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def distribution(settings: dict[str, str]) -> AsyncIterator[Distribution]:
    """A control plane with a real Envoy, without the rest of the service."""
    distribution = Distribution()
    server = await start_xds_server(read_settings(settings), distribution)
    envoy = await RunningEnvoy.start(settings)
    yield distribution
    await envoy.kill()
    await server.stop(None)


async def test_it_is_set_aside_and_the_rest_is_served(
    distribution: Distribution,
    settings: dict[str, str],
    start_scheduler: Callable[[str], Awaitable[FakeScheduler]],
    eventually: Eventually,
) -> None:
    scheduler = await start_scheduler("good")
    routes = [Route(cluster=f"c{n}", scheduler_address=scheduler.address) for n in range(30)]
    good = Snapshot(UpstreamTemplate.create(SUFFIX, 100, ANYWHERE)).updated("1", routes)
    serial = distribution.publish(_with_a_bad_one(good))
    await eventually(lambda: distribution.in_use == serial)
    assert distribution.rejected() == {"bad"}
    for number in (0, 29):
        connection = await connect(settings["public_listen"], scheduler, f"c{number}.{SUFFIX}")
        assert await connection.say("x") == "good: x"
        connection.close()
    serial = distribution.publish(good)
    await eventually(lambda: distribution.in_use == serial)
    assert distribution.rejected() == set()


def _with_a_bad_one(snapshot: Snapshot) -> Snapshot:
    name = f"bad.{SUFFIX}"
    endpoint = {"address": {"socket_address": {"address": "no-ip", "port_value": 1}}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]}
    content = Upstream(name=name, load_assignment=load).SerializeToString()
    message = DeltaResource(name=name, version="1", resource={"type_url": UPSTREAM_TYPE, "value": content})
    return replace(snapshot, resources={**snapshot.resources, name: Resource(name, "1", message)})
