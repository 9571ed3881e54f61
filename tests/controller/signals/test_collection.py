"""The controller's own collection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.controller.signals.contract import SignalsContract, World
from tests.controller.signals.pages import Page, key, text

from headrace_controller.signals.collection import Collection
from headrace_controller.signals.http import get
from headrace_controller.signals.measured import QueryFailed


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(Collection(key, at_once=1, timeout=0.2, longest=2), {}, stack)


class TestCollection(SignalsContract):
    """It passes the suite."""


async def test_those_that_did_not_answer_come_last(world: World) -> None:
    stuck = [await world.page() for _ in range(2)]
    for page in stuck:
        page.hangs = True
    await world.signals.measure()
    good = await world.page()
    order: list[str] = []
    for page in (*stuck, good):
        page.on_request = lambda page=page: order.append(page.cluster)
    await world.signals.measure()
    assert order[0] == good.cluster
    assert len(order) == 3


async def test_a_round_ends_whoever_hangs() -> None:
    async with AsyncExitStack() as stack:
        world = World(Collection(key, at_once=1, timeout=60, longest=0.2), {}, stack)
        stuck = await world.page()
        stuck.hangs = True
        await world.signals.measure()
        assert stuck.asked == 1


async def test_it_goes_to_addresses_and_never_to_names(world: World) -> None:
    page = await world.page()
    [target] = world.targets.values()
    world.targets[target.cluster] = replace(target, address=target.address.replace("127.0.0.1", "localhost"))
    await world.signals.measure()
    assert page.asked == 0


async def test_queries_need_a_prometheus(world: World) -> None:
    with pytest.raises(QueryFailed, match="SIGNALS__PROMETHEUS_URL"):
        await world.signals.query("up")


def test_it_reads_on_the_loop_of_the_services() -> None:
    async def read() -> tuple[int, bytes]:
        async with Page("c1").served() as page:
            host, port = page.address.split(":")
            return await get(host, int(port), f"/metrics/headrace?key={key('c1')}", most_bytes=10_000)

    loop_factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(read()) == (200, text().encode())
