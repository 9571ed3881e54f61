"""RouteService: who is reached where, and RUNNING only once the proxies know."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from tests.conftest import Eventually
from tests.controller.errors_of import fails
from tests.controller.fake_proxy import FakeProxy
from tests.controller.running import Replica, Site, User
from tests.controller.stubs import route_service

from headrace.errors import InvalidRequest
from headrace.internal.v1 import route_service_pb2 as pb
from headrace.v1 import cluster_pb2


async def routed(user: User, name: str) -> bool | None:
    """Whether the condition holds; None without it."""
    conditions = (await user.get(name)).status.conditions
    found = [c for c in conditions if c.type == cluster_pb2.CONDITION_TYPE_ROUTED]
    return found[0].status == cluster_pb2.CONDITION_STATUS_TRUE if found else None


async def test_routes_come_and_go(site: Site, ann: User, eventually: Eventually) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    route = pb.Route(
        cluster=made.name, owner="users/ann", scheduler_address="127.0.0.1:40000", dashboard_address="127.0.0.1:8787"
    )
    assert site.proxy.routes == {made.name: route}
    reader = FakeProxy("auth-0", acknowledges=False)
    reading = asyncio.create_task(reader.run(site.replicas[0].settings.internal_listen))
    await eventually(lambda: reader.routes == {made.name: route})
    await ann.stop(made.name)
    await ann.until(made.name, "STOPPED")
    await eventually(lambda: site.proxy.routes == {} and reader.routes == {})
    assert site.proxy.snapshots == 1
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_a_cluster_waits_for_a_proxy(site: Site, ann: User, controller: Replica, eventually: Eventually) -> None:
    site.proxy.silent = True
    made = await ann.create()

    async def waits() -> bool:
        return await routed(ann, made.name) is False

    await eventually(waits)
    assert (await ann.get(made.name)).status.phase == cluster_pb2.PHASE_STARTING
    site.proxy.silent = False
    await eventually(lambda: made.name in site.proxy.routes)
    site.proxy.acknowledge(site.proxy.last_version)
    await ann.until(made.name, "RUNNING")


async def test_a_cluster_waits_for_all_proxies_that_live(site: Site, ann: User, eventually: Eventually) -> None:
    slow = FakeProxy("proxy-1")
    slow.silent = True
    reading = asyncio.create_task(slow.run(site.replicas[0].settings.internal_listen))
    await eventually(lambda: slow.snapshots)
    made = await ann.create()
    await eventually(lambda: made.name in slow.routes and made.name in site.proxy.routes)
    assert (await ann.get(made.name)).status.phase == cluster_pb2.PHASE_STARTING
    slow.acknowledge(slow.last_version)
    await ann.until(made.name, "RUNNING")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_a_proxy_that_died_is_not_waited_for_for_long(site: Site, ann: User, eventually: Eventually) -> None:
    dead = FakeProxy("proxy-1")
    dead.silent = True
    reading = asyncio.create_task(dead.run(site.replicas[0].settings.internal_listen))
    await eventually(lambda: dead.snapshots)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    made = await ann.create()
    await ann.until(made.name, "RUNNING")


async def test_a_refused_route_fails_its_cluster(site: Site, ann: User) -> None:
    site.proxy.refuse_all = True
    made = await ann.create()
    ended = await ann.until(made.name, "FAILED")
    assert ended.status.reason == cluster_pb2.END_REASON_BACKEND_ERROR
    assert site.machine.running() == []


async def test_only_services_read_routes_and_only_in_order(controller: Replica) -> None:
    subscription = pb.WatchRoutesRequest(subscription=pb.Subscription(reader="x"))
    async with grpc.aio.insecure_channel(controller.endpoint) as channel:
        # The public listener does not even have the service.
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await route_service(channel).WatchRoutes(iter([subscription])).read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    async with grpc.aio.insecure_channel(controller.settings.internal_listen) as channel:
        stub = route_service(channel)
        for first in ([], [pb.WatchRoutesRequest()], [pb.WatchRoutesRequest(subscription=pb.Subscription())]):
            await fails(InvalidRequest, stub.WatchRoutes(iter(first)).read())


async def test_a_proxy_that_is_about_to_end_reaches_the_agents_of_all_replicas(
    site: Site, ann: User, eventually: Eventually
) -> None:
    made = [await ann.create() for _ in range(2)]
    for one in made:
        await ann.until(one.name, "RUNNING")
    agents = [site.agents.schedulers[one.name.removeprefix("clusters/")] for one in made]
    other = await site.replica("b")
    proxy = FakeProxy("proxy-1", acknowledges=False)
    reading = asyncio.create_task(proxy.run(other.settings.internal_listen))
    await eventually(lambda: proxy.snapshots)
    for number in (1, 2):
        proxy.redial()
        await eventually(lambda number=number: [agent.redials for agent in agents] == [number, number])
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
