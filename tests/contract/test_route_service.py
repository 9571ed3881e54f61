"""RouteService: all routes, then changes, to each reader; readers acknowledge what they have in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from redis.asyncio import Redis
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import site
from tests.controller.stubs import route_service
from tests.fake_routes import FakeRoutes

from headrace.errors import InvalidRequest
from headrace.internal.v1 import route_service_pb2 as pb


@dataclass(frozen=True)
class RouteServer:
    """A server with RouteService; `add` and `remove` change the routes of ann's clusters."""

    address: str
    add: Callable[[], Awaitable[str]]
    remove: Callable[[str], Awaitable[Any]]


class Reader:
    """A reader that has subscribed."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> pb.WatchRoutesResponse:
        return await self._call.read()

    async def acknowledge(self, version: str, *rejected: str) -> None:
        message = pb.Acknowledgement(version=version, rejected=rejected)
        await self._call.write(pb.WatchRoutesRequest(acknowledgement=message))

    async def ask_for_redial(self) -> None:
        await self._call.write(pb.WatchRoutesRequest(redial=pb.Redial()))

    async def read_until(self, condition: Callable[[pb.WatchRoutesResponse], object]) -> pb.WatchRoutesResponse:
        while not condition(response := await self.read()):
            assert not response.snapshot
        return response

    async def close(self) -> None:
        await self._call.done_writing()


@pytest.fixture(params=["real", "fake"])
async def server(
    request: pytest.FixtureRequest, directory: Path, redis_url: str, redis: Redis
) -> AsyncIterator[RouteServer]:
    _ = redis  # flushed
    async with AsyncExitStack() as stack:
        yield await (_real(stack, directory, redis_url) if request.param == "real" else _fake(stack, directory))


async def _real(stack: AsyncExitStack, directory: Path, redis_url: str) -> RouteServer:
    replica = await (await stack.enter_async_context(site(directory, redis_url))).replica()
    ann = await replica.user("ann")

    async def add() -> str:
        return (await ann.create()).name

    return RouteServer(replica.settings.internal_listen, add, ann.stop)


async def _fake(stack: AsyncExitStack, directory: Path) -> RouteServer:
    fake = FakeRoutes(f"unix:{directory}/routes.sock")
    await fake.start()
    stack.push_async_callback(fake.stop)

    async def add() -> str:
        cluster = f"c{len(fake.routes)}"
        fake.set(cluster, "127.0.0.1:40000", "127.0.0.1:8787")
        return f"clusters/{cluster}"

    async def remove(name: str) -> None:
        fake.send(removed=(name,))

    return RouteServer(fake.address, add, remove)


@asynccontextmanager
async def subscribed(
    server: RouteServer, name: str = "reader-0", *, acknowledges: bool = False
) -> AsyncGenerator[Reader]:
    async with grpc.aio.insecure_channel(server.address) as channel, asyncio.timeout(60):
        call: Any = route_service(channel).WatchRoutes()
        await call.write(pb.WatchRoutesRequest(subscription=pb.Subscription(reader=name, acknowledges=acknowledges)))
        yield Reader(call)
        call.cancel()


async def test_a_reader_gets_all_routes_and_then_changes(server: RouteServer) -> None:
    async with subscribed(server) as reader:
        empty = await reader.read()
        assert (empty.snapshot, len(empty.routes)) == (True, 0)
        name = await server.add()
        added = await reader.read_until(lambda change: change.routes)
        assert [route.cluster for route in added.routes] == [name]
        async with subscribed(server, "reader-1") as other:
            assert list((await other.read()).routes) == list(added.routes)
            await server.remove(name)
            for each in (reader, other):
                removed = await each.read_until(lambda change: change.removed)
                assert (list(removed.removed), list(removed.routes)) == ([name], [])
    async with subscribed(server) as late:
        assert len((await late.read()).routes) == 0


async def test_a_route_names_owner_and_addresses(server: RouteServer) -> None:
    async with subscribed(server) as reader:
        await reader.read()
        await server.add()
        [route] = (await reader.read_until(lambda change: change.routes)).routes
        assert route.owner == "users/ann"
        assert (route.scheduler_address, route.dashboard_address) == ("127.0.0.1:40000", "127.0.0.1:8787")


async def test_each_change_has_a_version_of_its_own(server: RouteServer) -> None:
    async with subscribed(server) as reader:
        versions = [(await reader.read()).version]
        for _ in range(2):
            await server.add()
            versions.append((await reader.read_until(lambda change: change.routes)).version)
        assert all(versions)
        assert len(set(versions)) == 3


async def test_what_is_in_use_and_what_is_rejected_is_acknowledged(server: RouteServer) -> None:
    async with subscribed(server, acknowledges=True) as reader:
        await reader.acknowledge((await reader.read()).version)
        await server.add()
        added = await reader.read_until(lambda change: change.routes)
        await reader.acknowledge(added.version)
        await reader.acknowledge(added.version, "clusters/other")
        name = await server.add()
        more = await reader.read_until(lambda change: change.routes)
        assert [route.cluster for route in more.routes] == [name]


async def test_the_stream_ends_when_the_reader_closes_its_side(server: RouteServer) -> None:
    async with subscribed(server) as reader:
        await reader.read()
        await reader.close()
        assert await reader.read() is grpc.aio.EOF


@pytest.mark.parametrize(
    "first", [[], [pb.WatchRoutesRequest()], [pb.WatchRoutesRequest(subscription=pb.Subscription())]]
)
async def test_the_first_message_is_a_subscription(server: RouteServer, first: list[pb.WatchRoutesRequest]) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        error = await fails(InvalidRequest, route_service(channel).WatchRoutes(iter(first)).read())
    assert [violation.field for violation in error.violations] == ["subscription"]


async def test_a_malformed_acknowledgement_names_the_field(server: RouteServer) -> None:
    for rejected, field in ((["clusters/c1"], "version"), (["c1"], "rejected")):
        async with subscribed(server) as reader:
            snapshot = await reader.read()
            await reader.acknowledge("" if field == "version" else snapshot.version, *rejected)
            assert await wrong_fields(reader.read()) == {field}


async def test_a_request_that_clients_connect_again_is_taken_between_others(server: RouteServer) -> None:
    async with subscribed(server, acknowledges=True) as reader:
        snapshot = await reader.read()
        await reader.ask_for_redial()
        await reader.acknowledge(snapshot.version)
        await server.add()
        assert (await reader.read_until(lambda change: change.routes)).routes
