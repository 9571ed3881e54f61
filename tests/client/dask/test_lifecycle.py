"""The life of a cluster by itself, without Dask's cluster class around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from distributed.core import Status
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import errors
from headrace._dask.lifecycle import Existing, Lifecycle
from headrace._dask.session import Session
from headrace._target.target import Target
from headrace._wire.creating import Wanted
from headrace.v1 import cluster_pb2

Make = Callable[..., Lifecycle]

NAMED = Wanted(cluster_pb2.ClusterSpec(alias="mine"))


@pytest.fixture
def make(configured: None) -> Make:
    def make(origin: Wanted | Existing, shutdown_on_close: bool | None = None, report: object = print) -> Lifecycle:
        session = Session(Target.resolve(), None, asynchronous=True)
        return Lifecycle(session, origin, shutdown_on_close=shutdown_on_close, timeout="30s", report=lambda _: None)

    return make


async def test_it_starts_is_used_and_closes(fake: FakeHeadrace, make: Make) -> None:
    life = make(NAMED)
    assert (life.status, life.name) == (Status.created, "?")
    await life.start()
    assert (life.status, life.created, life.shutdown_on_close) == (Status.running, True, True)
    assert life.scaling == {"default": "Manual"}
    assert life.resource_version == fake.clusters[life.name].record.resource_version
    await life.close()
    assert life.status is Status.closed
    assert fake.clusters[life.name].record.spec.stop


async def test_it_finds_what_another_has_created(fake: FakeHeadrace, make: Make) -> None:
    creator, by_alias, by_name = make(NAMED), make(NAMED), make(Existing("mine"))
    for life in (creator, by_alias, by_name):
        await life.start()
    assert creator.name == by_alias.name == by_name.name
    assert [life.created for life in (creator, by_alias, by_name)] == [True, False, False]
    await by_alias.close()
    await by_name.close()
    assert not fake.clusters[creator.name].record.spec.stop
    await creator.close()


async def test_all_who_start_it_wait_for_one_start(fake: FakeHeadrace, make: Make) -> None:
    life = make(NAMED)
    await asyncio.gather(*(life.start() for _ in range(3)))
    assert fake.calls.count("CreateCluster") == 1
    await life.close()


async def test_all_who_close_it_wait_for_one_end(fake: FakeHeadrace, make: Make) -> None:
    life = make(NAMED)
    await life.start()
    await asyncio.gather(*(life.close() for _ in range(3)))
    assert fake.calls.count("StopCluster") == 1


@pytest.mark.parametrize("cancelled_at", ["CreateCluster", "WatchClusters"])
async def test_a_cancelled_start_leaves_no_cluster(
    fake: FakeHeadrace, make: Make, eventually: Eventually, cancelled_at: str
) -> None:
    fake.starts = False
    life = make(NAMED)
    starting = asyncio.ensure_future(life.start())
    await eventually(lambda: cancelled_at in fake.calls)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert life.status is Status.closed
    assert all(cluster.record.spec.stop for cluster in fake.clusters.values())


async def test_closing_during_the_start_ends_it(fake: FakeHeadrace, make: Make, eventually: Eventually) -> None:
    fake.starts = False
    life = make(NAMED)
    starting = asyncio.ensure_future(life.start())
    await eventually(lambda: "WatchClusters" in fake.calls)
    await life.close()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert fake.clusters[life.name].record.spec.stop


async def test_a_cluster_that_shall_stay_stays_when_the_start_fails(fake: FakeHeadrace, make: Make) -> None:
    fake.fail("WatchClusters", errors.InternalError("out of order"))
    fake.starts = False
    life = make(NAMED, shutdown_on_close=False)
    with pytest.raises(errors.InternalError):
        await life.start()
    assert not fake.clusters[life.name].record.spec.stop
