"""A real Envoy refuses a resource: the others are served, and the offender is named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from tests.proxy.conftest import SUFFIX
from tests.proxy.fake_scheduler import FakeScheduler, connect

from headrace_proxy.config import Settings
from headrace_proxy.envoy.bootstrap import bootstrap
from headrace_proxy.envoy_keeper import EnvoyKeeper
from headrace_proxy.model import Route
from headrace_proxy.state_directory import write_public_certificate
from headrace_proxy.xds.ads import DeltaDiscovery
from headrace_proxy.xds.distribution import Distribution
from headrace_proxy.xds.messages import UPSTREAM_TYPE, DeltaResource, Upstream
from headrace_proxy.xds.server import start_xds_server
from headrace_proxy.xds.snapshot import Resource, Shape, Snapshot, build

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture
async def distribution(settings: dict[str, str]) -> AsyncIterator[Distribution]:
    """A control plane with a real Envoy, without the rest of the service."""
    configured = Settings.model_validate(settings)
    configured.state_directory.mkdir()
    write_public_certificate(configured)
    distribution = Distribution()
    server = await start_xds_server(configured, DeltaDiscovery(distribution))
    keeper = EnvoyKeeper(
        bootstrap(configured),
        state_directory=configured.state_directory,
        public_listen=configured.public_listen,
        concurrency=1,
    )
    await keeper.open()
    yield distribution
    await keeper.close()
    await server.stop(None)


async def test_it_is_set_aside_and_the_rest_is_served(
    distribution: Distribution,
    settings: dict[str, str],
    start_scheduler: Callable[[str], Awaitable[FakeScheduler]],
    eventually: Eventually,
) -> None:
    scheduler = await start_scheduler("good")
    routes = [Route(cluster=f"c{n}", scheduler_address=scheduler.address) for n in range(30)]
    good = build(Shape.of(SUFFIX, 100), "1", routes)
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
