"""The control plane as Envoys see it, over real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import grpc
import pytest
from tests.proxy.conftest import ANYWHERE, SUFFIX
from tests.proxy.fake_envoy import FakeEnvoy
from tests.proxy.running_proxy import read_settings

from headrace_chassis.routes import Route
from headrace_proxy.xds.ads import start_xds_server
from headrace_proxy.xds.distribution import Distribution
from headrace_proxy.xds.node_session import CHUNK
from headrace_proxy.xds.snapshot import Snapshot
from headrace_proxy.xds.upstream import UpstreamTemplate

Eventually = Callable[..., Awaitable[None]]
Connect = Callable[..., Awaitable[FakeEnvoy]]
TEMPLATE = UpstreamTemplate.create(SUFFIX, 100, ANYWHERE)


def snapshot(count: int, version: str = "1") -> Snapshot:
    routes = [Route(cluster=f"c{n}", scheduler_address="127.0.0.1:9") for n in range(count)]
    return Snapshot(TEMPLATE).updated(version, routes)


@pytest.fixture
async def distribution(settings: dict[str, str]) -> AsyncIterator[Distribution]:
    distribution = Distribution()
    server = await start_xds_server(read_settings(settings), distribution)
    yield distribution
    await server.stop(None)


@pytest.fixture
async def connect(settings: dict[str, str], distribution: Distribution) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:
        # What keeps each Envoy's connection apart from the others'.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]

        async def connect(node: str, **has: str) -> FakeEnvoy:
            channel = grpc.aio.insecure_channel(settings["xds_listen"], options=options)
            envoy = FakeEnvoy(node, await stack.enter_async_context(channel), dict(has))
            await envoy.connect()
            return envoy

        yield connect


async def test_nothing_is_served_before_the_routes_are_known(distribution: Distribution, connect: Connect) -> None:
    envoy = await connect("a", c1="old")
    answer = asyncio.ensure_future(envoy.take())
    done, _ = await asyncio.wait([answer], timeout=0.2)
    assert not done
    distribution.publish(snapshot(1))
    assert (await answer).removed_resources == ["c1"]


async def test_an_empty_answer_tells_an_envoy_that_there_is_nothing(
    distribution: Distribution, connect: Connect
) -> None:
    distribution.publish(snapshot(0))
    envoy = await connect("a")
    response = await envoy.take()
    assert not response.resources
    assert not response.removed_resources


async def test_many_resources_come_in_chunks(
    distribution: Distribution, connect: Connect, eventually: Eventually
) -> None:
    serial = distribution.publish(snapshot(CHUNK * 2 + 1))
    envoy = await connect("a")
    assert [len((await envoy.take()).resources) for _ in range(2)] == [CHUNK, CHUNK]
    assert distribution.in_use == 0, "in use only when all chunks are"
    assert len((await envoy.take()).resources) == 1
    await eventually(lambda: distribution.in_use == serial)


async def test_an_envoy_that_has_it_all_is_sent_nothing(
    distribution: Distribution, connect: Connect, eventually: Eventually
) -> None:
    serial = distribution.publish(snapshot(50))
    versions = {name: resource.version for name, resource in snapshot(50).resources.items()}
    envoy = await connect("a", **versions)
    response = await envoy.take()
    assert not response.resources
    await eventually(lambda: distribution.in_use == serial)


async def test_a_restored_snapshot_adds_and_removes_nothing(distribution: Distribution, connect: Connect) -> None:
    distribution.publish(snapshot(2), restored=True)
    newer = {f"c0.{SUFFIX}": "newer", f"c7.{SUFFIX}": "newer"}
    envoy = await connect("a", **newer)
    response = await envoy.take()
    assert [r.name for r in response.resources] == [f"c1.{SUFFIX}"]
    assert not response.removed_resources
    distribution.publish(snapshot(2))
    response = await envoy.take()
    assert [r.name for r in response.resources] == [f"c0.{SUFFIX}"]
    assert list(response.removed_resources) == [f"c7.{SUFFIX}"]


async def test_a_version_is_in_use_when_every_envoy_has_it(
    distribution: Distribution, connect: Connect, eventually: Eventually
) -> None:
    first = distribution.publish(snapshot(1))
    fast, slow = await connect("fast"), await connect("slow")
    await fast.take()
    await slow.take()
    await eventually(lambda: distribution.in_use == first)
    second = distribution.publish(snapshot(2))
    await fast.take()
    response = await slow.read()
    assert (len(response.resources), distribution.in_use) == (1, first)
    slow.leave()
    await eventually(lambda: distribution.in_use == second)


async def test_changes_while_a_response_is_in_flight_become_one_response(
    distribution: Distribution, connect: Connect
) -> None:
    distribution.publish(snapshot(0))
    envoy = await connect("a")
    await envoy.take()
    distribution.publish(snapshot(1))
    first = await envoy.read()
    for count in range(2, 50):
        distribution.publish(snapshot(count))
    await envoy.acknowledge(first)
    assert len((await envoy.take()).resources) == 48


async def test_a_rejected_resource_is_set_aside_and_sent_again_when_it_changes(
    distribution: Distribution, connect: Connect, eventually: Eventually
) -> None:
    serial = distribution.publish(snapshot(20))
    envoy = await connect("a")
    await envoy.reject(f"Error adding/updating cluster(s) c1.{SUFFIX}: malformed IP address")
    await eventually(lambda: distribution.in_use == serial)
    assert distribution.rejected() == {"c1"}, "c11 is another"
    distribution.publish(snapshot(21))
    assert [r.name for r in (await envoy.take()).resources] == [f"c20.{SUFFIX}"]
    moved = Route(cluster="c1", scheduler_address="127.0.0.1:10")
    distribution.publish(snapshot(21).updated("3", [moved]))
    assert [r.name for r in (await envoy.take()).resources] == [f"c1.{SUFFIX}"]
    assert distribution.rejected() == set()


async def test_a_rejected_resource_that_is_not_named_is_found(
    distribution: Distribution, connect: Connect, eventually: Eventually
) -> None:
    serial = distribution.publish(snapshot(3))
    envoy = await connect("a")
    await envoy.reject("something is wrong")
    for _ in range(2):
        assert len((await envoy.take()).resources) == 1
    last = await envoy.reject("something is wrong")
    await eventually(lambda: distribution.in_use == serial)
    assert distribution.rejected() == {last.resources[0].name.removesuffix(f".{SUFFIX}")}
