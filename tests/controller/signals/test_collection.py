"""The controller's own collection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from typing import Any

import pytest
from tests.conftest import Eventually
from tests.controller.signals.contract import SignalsContract, World
from tests.controller.signals.pages import key, text

from headrace_controller.model import ClusterId
from headrace_controller.signals.collection import Collection
from headrace_controller.signals.measured import Absence, Measured, NotMeasured, QueryFailed


def new_world(stack: AsyncExitStack, key: Callable[[str], str] = key, /, **settings: Any) -> World:
    """One in which nobody is too late, however slow the machine is."""
    given: dict[str, Any] = {"at_once": 1, "most_kept": 100, "timeout": 30, "longest": 60, **settings}
    return World(stack.enter_context(closing(Collection(key, **given))), {}, stack)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def world(stack: AsyncExitStack) -> World:
    return new_world(stack)


class TestCollection(SignalsContract):
    """It passes the suite."""

    @pytest.fixture
    def world(self, stack: AsyncExitStack) -> World:
        """Some pages hang."""
        return new_world(stack, timeout=0.2, longest=2)


class Order:
    """The clusters that are read, in order: also those whose request is too late to arrive."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def key(self, cluster: str) -> str:
        self.read.append(cluster)
        return key(cluster)


async def test_those_that_did_not_answer_come_last(stack: AsyncExitStack) -> None:
    order = Order()
    world = new_world(stack, order.key, timeout=0.2)
    stuck = [await world.page() for _ in range(2)]
    for page in stuck:
        page.hangs = True
    await world.signals.measure()
    good = await world.page()
    order.read.clear()
    await world.signals.measure()
    assert order.read == [good.cluster, *(page.cluster for page in stuck)]


async def test_a_round_ends_whatever_hangs(stack: AsyncExitStack) -> None:
    order = Order()
    world = new_world(stack, order.key, timeout=60, longest=0.2)
    stuck = await world.page()
    stuck.hangs = True
    await world.signals.measure()
    assert order.read == [stuck.cluster]


async def test_those_that_a_round_does_not_reach_come_first_in_the_next(stack: AsyncExitStack) -> None:
    order = Order()
    world = new_world(stack, order.key, timeout=60, longest=0.2)
    slow, other = await world.page(), await world.page()
    slow.hangs = True
    await world.signals.measure()
    assert order.read == [slow.cluster]
    await world.signals.measure()
    assert order.read[1] == other.cluster
    await world.until(lambda: isinstance(world.of(other), Measured))


async def test_it_goes_to_addresses_and_never_to_names(world: World) -> None:
    page = await world.page()
    [target] = world.targets.values()
    world.targets[target.cluster] = replace(target, address=target.address.replace("127.0.0.1", "localhost"))
    await world.signals.measure()
    assert page.asked == 0


async def test_a_connection_to_a_scheduler_is_kept(world: World) -> None:
    _, there = await world.scheduler()
    connections: list[object] = []
    for _ in range(3):
        await world.signals.measure()
        connections += there.http_server._connections
    assert len(connections) == 3
    assert len(set(connections)) == 1


@pytest.mark.parametrize(("settings", "keeps"), [({}, False), ({"most_kept": 0}, True)])
async def test_a_connection_that_is_not_kept_is_opened_again(
    stack: AsyncExitStack, eventually: Eventually, settings: dict[str, int], keeps: bool
) -> None:
    world = new_world(stack, **settings)
    page = await world.page()
    page.keeps = keeps
    for asked in (1, 2, 3):
        await world.signals.measure()
        assert (page.asked, page.connections) == (asked, asked)
        await eventually(lambda: not page.writers)


async def test_a_connection_that_was_closed_meanwhile_is_opened_again(world: World) -> None:
    page, other = await world.page(), await world.page()
    await world.signals.measure()
    page.disconnect()
    await world.until(lambda: page.connections == 2)
    assert other.connections == 1
    page.text = text({"clients": 3})
    await world.signals.measure()
    found = world.of(page)
    assert isinstance(found, Measured)
    assert found.clients == 3


async def test_what_comes_unasked_is_not_believed(world: World, eventually: Eventually) -> None:
    page = await world.page()
    await world.signals.measure()
    lie = text({"idle_seconds": 5000})
    [writer] = page.writers
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(lie)}\r\n\r\n{lie}".encode())
    await eventually(lambda: not page.writers)
    await world.signals.measure()
    found = world.of(page)
    assert isinstance(found, Measured)
    assert (found.idle_since, page.connections) == (None, 2)


async def test_connections_of_clusters_that_are_gone_are_closed(world: World, eventually: Eventually) -> None:
    page, other = await world.page(), await world.page()
    await world.signals.measure()
    del world.targets[ClusterId(page.cluster)]
    await world.signals.measure()
    await eventually(lambda: not page.writers)
    assert len(other.writers) == 1


async def test_clusters_that_name_one_address_leave_one_connection(
    stack: AsyncExitStack, eventually: Eventually
) -> None:
    world = new_world(stack, at_once=2)
    page = await world.page()
    [target] = world.targets.values()
    world.targets[ClusterId("other")] = replace(target, cluster=ClusterId("other"))
    await world.signals.measure()
    assert page.connections == 2
    await eventually(lambda: len(page.writers) == 1)
    assert world.signals.of(ClusterId("other")) == NotMeasured(absence=Absence.MISSING)


async def test_queries_need_a_prometheus(world: World) -> None:
    with pytest.raises(QueryFailed, match="SIGNALS__PROMETHEUS_URL"):
        await world.signals.query("up")
