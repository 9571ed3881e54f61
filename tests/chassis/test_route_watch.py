"""Following routes over a real channel: snapshots, changes, acknowledgements, and a controller that goes and comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY
from tests.chassis.running import unix_channel
from tests.conftest import Eventually
from typing_extensions import override

from headrace.internal.v1 import route_service_pb2 as pb
from headrace.internal.v1 import route_service_pb2_grpc
from headrace_chassis.route_watch import RouteWatch
from headrace_chassis.routes import Route, RouteChange


class Controller(route_service_pb2_grpc.RouteServiceServicer):
    """Sends what a test puts into the queue; records what it receives."""

    def __init__(self) -> None:
        self.to_send: asyncio.Queue[RouteChange | None] = asyncio.Queue()
        self.received: list[pb.WatchRoutesRequest] = []

    @override
    async def WatchRoutes(
        self, request_iterator: AsyncIterator[pb.WatchRoutesRequest], context: Any
    ) -> AsyncIterator[pb.WatchRoutesResponse]:
        receiving = asyncio.create_task(self._receive(request_iterator))
        try:
            while (change := await self.to_send.get()) is not None:
                yield change.to_message()
        finally:
            receiving.cancel()

    async def _receive(self, requests: AsyncIterator[pb.WatchRoutesRequest]) -> None:
        async for request in requests:
            self.received.append(request)

    @property
    def acknowledged(self) -> list[tuple[str, list[str]]]:
        return [
            (request.acknowledgement.version, list(request.acknowledgement.rejected))
            for request in self.received
            if request.HasField("acknowledgement")
        ]

    @property
    def redials(self) -> int:
        return sum(request.HasField("redial") for request in self.received)


@pytest.fixture
def address(directory: Path) -> str:
    return f"unix:{directory}/routes.sock"


@asynccontextmanager
async def running(address: str) -> AsyncGenerator[Controller]:
    controller = Controller()
    server = grpc.aio.server()
    route_service_pb2_grpc.add_RouteServiceServicer_to_server(controller, server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield controller
    finally:
        await server.stop(0)


@asynccontextmanager
async def following(address: str, accept: Any, *, acknowledges: bool = False) -> AsyncGenerator[RouteWatch]:
    async with unix_channel(address) as channel:
        watch = RouteWatch(channel, "reader-0", accept, acknowledges=acknowledges)
        task = asyncio.create_task(watch.run())
        try:
            yield watch
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def snapshot(version: str, *clusters: str) -> RouteChange:
    return RouteChange(version=version, snapshot=True, routes=tuple(Route(cluster=cluster) for cluster in clusters))


@pytest.mark.parametrize("acknowledges", [False, True])
async def test_it_subscribes_under_its_name_and_hands_on_each_change(
    address: str, eventually: Eventually, acknowledges: bool
) -> None:
    accepted: list[RouteChange] = []
    changes = [snapshot("1", "a"), RouteChange(version="2", removed=("a",))]
    async with running(address) as controller, following(address, accepted.append, acknowledges=acknowledges):
        for change in changes:
            controller.to_send.put_nowait(change)
        await eventually(lambda: accepted == changes and controller.received)
    assert controller.received[0].subscription == pb.Subscription(reader="reader-0", acknowledges=acknowledges)


async def test_what_is_in_use_is_acknowledged_with_what_was_rejected(address: str, eventually: Eventually) -> None:
    accepted: list[RouteChange] = []
    async with running(address) as controller, following(address, accepted.append, acknowledges=True) as watch:
        controller.to_send.put_nowait(snapshot("7", "a", "b"))
        await eventually(lambda: accepted)
        watch.acknowledge("7", {"b", "a"})
        await eventually(lambda: controller.acknowledged == [("7", ["clusters/a", "clusters/b"])])


async def test_after_an_end_it_comes_again_and_acknowledges_nothing_of_the_stream_before(
    address: str, eventually: Eventually
) -> None:
    accepted: list[RouteChange] = []
    async with following(address, accepted.append, acknowledges=True) as watch:
        watch.acknowledge("0")
        async with running(address) as first:
            first.to_send.put_nowait(snapshot("1", "a"))
            await eventually(lambda: accepted)
            assert REGISTRY.get_sample_value("headrace_routes_connected") == 1
        await eventually(lambda: REGISTRY.get_sample_value("headrace_routes_connected") == 0)
        watch.acknowledge("1")
        async with running(address) as second:
            second.to_send.put_nowait(snapshot("5", "a"))
            await eventually(lambda: len(accepted) == 2)
            watch.acknowledge("5")
            await eventually(lambda: second.acknowledged == [("5", [])])
    assert first.acknowledged == []


async def test_a_stream_that_the_controller_ends_is_opened_again(address: str, eventually: Eventually) -> None:
    accepted: list[RouteChange] = []
    async with running(address) as controller, following(address, accepted.append):
        for _ in range(3):
            controller.to_send.put_nowait(snapshot("1"))
            controller.to_send.put_nowait(None)
        await eventually(lambda: len(accepted) == 3)


async def test_it_ends_whenever_it_is_cancelled(address: str) -> None:
    """grpc.aio may hold back a cancellation that arrives while it prepares a call, most of all without a server."""
    for _ in range(10):
        options = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options) as channel:
            for moment in range(20):
                task = asyncio.create_task(RouteWatch(channel, "reader-0", lambda _: None).run())
                await asyncio.sleep(moment * 0.0003)
                task.cancel()
                await asyncio.wait({task}, timeout=30)
                assert task.cancelled()


async def test_a_change_that_its_receiver_cannot_use_does_not_end_it(address: str, eventually: Eventually) -> None:
    accepted: list[RouteChange] = []

    def accept(change: RouteChange) -> None:
        if change.version == "bad":
            raise RuntimeError("cannot be used")
        accepted.append(change)

    async with running(address) as controller, following(address, accept):
        controller.to_send.put_nowait(snapshot("bad", "a"))

        async def comes_again() -> bool:
            controller.to_send.put_nowait(snapshot("good", "a"))  # the stream that broke may have taken the one before
            return bool(accepted)

        await eventually(comes_again)


async def test_a_request_to_connect_again_is_sent_once_if_need_be_later(address: str, eventually: Eventually) -> None:
    accepted: list[RouteChange] = []
    async with following(address, accepted.append, acknowledges=True) as watch:
        watch.redial()
        async with running(address) as first:
            await eventually(lambda: first.redials == 1)
            watch.redial()
            await eventually(lambda: first.redials == 2)
        async with running(address) as second:
            second.to_send.put_nowait(snapshot("5", "a"))
            await eventually(lambda: accepted)
            watch.acknowledge("5")
            await eventually(lambda: second.acknowledged == [("5", [])])
            assert second.redials == 0


async def test_a_request_to_connect_again_that_a_stream_ended_before_is_sent_on_the_next(
    address: str, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with unix_channel(address) as channel:
        kind: Any = type(channel.stream_stream("/any")())
    sending, write = asyncio.Event(), kind.write

    async def write_late(call: Any, request: pb.WatchRoutesRequest) -> None:
        if request.HasField("redial") and not sending.is_set():
            sending.set()
            await asyncio.Event().wait()
        await write(call, request)

    monkeypatch.setattr(kind, "write", write_late)
    accepted: list[RouteChange] = []
    async with following(address, accepted.append) as watch:
        async with running(address) as first:
            await eventually(lambda: first.received)
            watch.redial()
            await sending.wait()
        async with running(address) as second:
            await eventually(lambda: second.redials == 1)
    assert first.redials == 0
