"""Routes that proxies have taken up: an acknowledgement wakes the clusters that it is for, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest
from tests.conftest import Eventually
from tests.controller.builders import ANN, connected_report, new_cluster, running_cluster

from headrace_controller.model import Cluster, ClusterId, Phase, Status
from headrace_controller.plan import RouteState
from headrace_controller.reconciling.route_states import RouteStates
from headrace_controller.store import Acknowledgement, Change, ChangeKind, Store


def starting(name: str, version: str) -> Cluster:
    return replace(new_cluster(name), report=connected_report(route_version=version))


def in_use(version: str, *rejected: str) -> Acknowledgement:
    return Acknowledgement(version=version, rejected=frozenset(map(ClusterId, rejected)))


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def states(store: Store, woken: list[str]) -> RouteStates:
    return RouteStates(store.routes, wake=woken.append)


@pytest.fixture
async def running(states: RouteStates) -> AsyncIterator[None]:
    task = asyncio.create_task(states.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_an_acknowledgement_wakes_those_whose_route_it_covers(states: RouteStates, woken: list[str]) -> None:
    clusters = [starting(f"c{n}", f"{n}-0") for n in range(1, 6)]
    assert {states.of(cluster) for cluster in reversed(clusters)} == {RouteState()}
    states.accept("proxy-0", in_use("3-0"))
    assert woken == ["c1", "c2", "c3"]
    states.accept("proxy-0", in_use("3-5"))
    states.accept("proxy-0", in_use("3-5"))
    assert woken == ["c1", "c2", "c3"]
    assert [states.of(cluster).routed for cluster in clusters] == [True, True, True, False, False]
    states.accept("proxy-0", in_use("10-0"))
    assert woken == ["c1", "c2", "c3", "c4", "c5"]


def test_every_reader_must_serve_the_route(states: RouteStates, woken: list[str]) -> None:
    cluster = starting("c1", "5-1")
    states.accept("proxy-0", in_use("9-0"))
    states.accept("proxy-1", in_use(""))
    assert not states.of(cluster).routed
    states.accept("proxy-1", in_use("5-0"))
    assert woken == []
    states.accept("proxy-1", in_use("5-1"))
    assert woken == ["c1"]
    assert states.of(cluster).routed


def test_a_refusal_wakes_its_cluster_and_names_the_reader(states: RouteStates, woken: list[str]) -> None:
    one, two = starting("c1", "5-0"), starting("c2", "5-0")
    states.of(one)
    states.of(two)
    states.accept("proxy-0", in_use("4-0", "c2", "c9"))
    assert woken == ["c2"]
    assert states.of(two) == RouteState(routed=False, rejected_by=("proxy-0",))
    assert states.of(one) == RouteState()


def test_a_changed_route_is_waited_for_and_the_former_one_is_not(states: RouteStates, woken: list[str]) -> None:
    states.of(starting("c1", "5-0"))
    states.of(starting("c1", "7-0"))
    states.accept("proxy-0", in_use("6-0"))
    assert woken == []
    states.accept("proxy-0", in_use("7-0"))
    assert woken == ["c1"]


def test_a_running_cluster_stays_routed_and_waits_for_nothing(states: RouteStates, woken: list[str]) -> None:
    running = running_cluster(report={"route_version": "5-0"})
    assert states.of(running).routed
    assert not states.of(running_cluster()).routed
    states.of(starting("c1", "5-0"))
    states.of(replace(starting("c1", "5-0"), status=Status(phase=Phase.STOPPING)))
    states.accept("proxy-0", in_use("5-0"))
    assert woken == []


def test_the_change_stream_carries_what_readers_have_in_use(states: RouteStates) -> None:
    record = Change(id="1-0", kind=ChangeKind.RECORD, cluster=ClusterId("c1"), owner=ANN)
    states.on_change(record)
    states.on_change(replace(record, kind=ChangeKind.ACKNOWLEDGED, reader="proxy-0", in_use=in_use("5-0")))
    assert states.of(starting("c1", "5-0")).routed


@pytest.mark.usefixtures("running")
async def test_readers_from_before_the_start_are_known_as_soon_as_somebody_waits(
    store: Store, states: RouteStates, woken: list[str], eventually: Eventually
) -> None:
    await store.routes.acknowledge("proxy-0", in_use("5-0"), 60)
    cluster = starting("c1", "5-0")
    states.of(cluster)
    await eventually(lambda: woken == ["c1"])
    assert states.of(cluster).routed


@pytest.mark.usefixtures("running")
async def test_a_reader_that_counts_no_more_is_waited_for_no_longer(
    store: Store, states: RouteStates, woken: list[str], eventually: Eventually
) -> None:
    await store.routes.acknowledge("proxy-0", in_use("9-0"), 60)
    await store.routes.register("proxy-1", 0)
    states.accept("proxy-0", in_use("9-0"))
    states.accept("proxy-1", in_use(""))
    states.of(starting("c1", "5-0"))
    await eventually(lambda: woken == ["c1"])


@pytest.mark.usefixtures("running")
async def test_a_reader_that_comes_while_the_readers_are_read_counts(
    store: Store, states: RouteStates, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers, read = store.routes.readers, asyncio.Event()

    async def late() -> Mapping[str, Acknowledgement]:
        found = await readers()
        states.accept("proxy-1", in_use(""))
        read.set()
        return found

    monkeypatch.setattr(store.routes, "readers", late)
    await store.routes.acknowledge("proxy-0", in_use("9-0"), 60)
    states.accept("proxy-0", in_use("4-0"))
    cluster = starting("c1", "5-0")
    states.of(cluster)
    await read.wait()
    states.accept("proxy-0", in_use("9-0"))
    assert not states.of(cluster).routed
