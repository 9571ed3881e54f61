"""Streams: every write is told, in order, and who comes too late is told so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from headrace.errors import ResumeTokenTooOld
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId, Demand, EndReason, Event, Phase, Report, Status, UserId
from headrace_controller.store import Acknowledgement, ChangeKind, Fence, RouteRecord, Store, reaches

Record = Callable[..., Awaitable[tuple[Cluster, bool]]]
NewCluster = Callable[..., Cluster]
ANN = UserId("ann")


async def test_each_write_is_told_with_its_revision(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    start = await store.changes_head()
    cluster, _ = await record(new_cluster())
    await store.save_report(cluster.id, Report(session=1), events=[Event(type="A", message="a")])
    failed = replace(cluster, status=Status(phase=Phase.FAILED, ended=1.0))
    await store.save_status(failed, fence=fence, events=[Event(type="B", message="b"), Event(type="C", message="c")])
    added = await store.add_event(cluster.id, ANN, Event(type="D", message="d", time=4.0))
    await store.remove(cluster.id)

    changes = await store.changes(start)

    assert [(change.kind, change.revision) for change in changes if change.event is None] == [
        (ChangeKind.SPEC, 1),
        (ChangeKind.REPORT, 2),
        (ChangeKind.STATUS, 3),
        (ChangeKind.REMOVED, 4),
    ]
    events = [change.event for change in changes if change.event is not None]
    assert [event.type for event in events] == ["Created", "A", "B", "C", "D"]
    assert events[-1] == added
    assert {(change.cluster, change.owner) for change in changes} == {(cluster.id, ANN)}
    assert await store.changes_head() == changes[-1].id
    assert await store.changes(changes[-1].id) == []
    assert await store.changes(changes[2].id) == changes[3:]


async def test_events_of_a_cluster_come_oldest_first_after_an_id(
    store: Store, record: Record, new_cluster: NewCluster
) -> None:
    cluster, _ = await record(new_cluster())
    for n in range(4):
        await store.add_event(cluster.id, ANN, Event(type=f"E{n}", message=""))
    events = await store.events(cluster.id)
    assert [event.type for event in events] == ["Created", "E0", "E1", "E2", "E3"]
    assert await store.events(cluster.id, events[1].id, 2) == events[2:4]


async def test_whoever_waits_gets_the_next_change(store: Store, record: Record, new_cluster: NewCluster) -> None:
    cluster, _ = await record(new_cluster())
    waiting = asyncio.create_task(store.changes(await store.changes_head(), block=4000))
    await store.save_report(cluster.id, Report(session=1))
    assert [change.kind for change in await waiting] == [ChangeKind.REPORT]


async def test_waiting_ends_when_nothing_happens(store: Store) -> None:
    assert await store.changes(await store.changes_head(), block=5) == []


async def test_a_token_from_before_the_history_is_too_old(
    redis: Redis, keys: Keys, store: Store, record: Record, new_cluster: NewCluster
) -> None:
    beginning = await store.changes_head()
    await record(new_cluster())
    first = await store.changes_head()
    await record(new_cluster())
    await redis.xtrim(keys.changes(), maxlen=1, approximate=False)
    for token in (beginning, first, "", "nonsense", "99999999999999-0"):
        with pytest.raises(ResumeTokenTooOld):
            await store.changes(token)
    assert await store.changes(await store.changes_head()) == []


async def test_a_token_from_before_redis_was_emptied_is_too_old(
    redis: Redis, store: Store, record: Record, new_cluster: NewCluster
) -> None:
    await record(new_cluster())
    token, version = await store.changes_head(), await store.version(ANN)
    await redis.flushall()
    with pytest.raises(ResumeTokenTooOld):
        await store.changes(token)
    await record(new_cluster())
    with pytest.raises(ResumeTokenTooOld):
        await store.changes(token)
    assert await store.version(ANN) > version


async def test_a_route_comes_with_the_addresses_and_goes_with_the_end(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    assert await store.routes() == ("0-0", [])
    cluster, _ = await record(new_cluster())
    report = Report(session=1, sequence=1, scheduler_address="tls://10.0.0.7:1", dashboard_address="10.0.0.7:2")
    assert not (await store.save_report(cluster.id, Report(session=1))).report.route_version

    saved = await store.save_report(cluster.id, report)
    again = await store.save_report(cluster.id, replace(report, sequence=2, clients=1))
    unknown = await store.save_report(cluster.id, Report(session=1, sequence=3))

    route = RouteRecord(
        cluster=cluster.id, owner=ANN, scheduler_address="tls://10.0.0.7:1", dashboard_address="10.0.0.7:2"
    )
    version = saved.report.route_version
    assert again.report.route_version == unknown.report.route_version == version
    assert await store.routes() == (version, [route])

    moved = await store.save_report(cluster.id, replace(report, session=2, scheduler_address="tls://10.0.0.7:9"))
    assert moved.report.route_version != version
    await store.save_status(replace(moved, status=Status(phase=Phase.FAILED, ended=1.0)), fence=fence)

    changes = await store.route_changes("0-0")
    assert [change.route for change in changes] == [route, replace(route, scheduler_address="tls://10.0.0.7:9"), None]
    assert [change.version for change in changes][:2] == [version, moved.report.route_version]
    assert await store.routes() == (changes[-1].version, [])
    assert await store.route_changes(version) == changes[1:]


async def test_a_cluster_that_ends_without_a_route_leaves_the_log_alone(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    cluster, _ = await record(new_cluster())
    await store.save_status(replace(cluster, status=Status(phase=Phase.FAILED, ended=1.0)), fence=fence)
    assert await store.route_changes("0-0") == []


async def test_readers_count_until_their_time_is_over(redis: Redis, keys: Keys, store: Store) -> None:
    await store.register("proxy-0", 30)
    await store.register("proxy-1", 30)
    assert await store.acknowledged() == {name: Acknowledgement(version="") for name in ("proxy-0", "proxy-1")}
    start = await store.changes_head()

    await store.acknowledge("proxy-0", "5-1", [ClusterId("c1")], 30)
    await store.acknowledge("proxy-0", "5-1", [ClusterId("c1")], 30)
    await store.register("proxy-0", 30)
    await store.acknowledge("proxy-1", "4-0", [], 0)

    in_use = Acknowledgement(version="5-1", rejected=frozenset({ClusterId("c1")}))
    assert await store.acknowledged() == {"proxy-0": in_use}
    assert [change.kind for change in await store.changes(start)] == [ChangeKind.ACKNOWLEDGED] * 2


def test_an_acknowledgement_covers_what_came_before_it() -> None:
    in_use = Acknowledgement(version="10-2", rejected=frozenset({ClusterId("c2")}))
    assert in_use.covers(ClusterId("c1"), "10-2")
    assert in_use.covers(ClusterId("c1"), "9-9")
    assert not in_use.covers(ClusterId("c1"), "10-3")
    assert not in_use.covers(ClusterId("c1"), "")
    assert not in_use.covers(ClusterId("c2"), "10-2")
    assert not Acknowledgement(version="").covers(ClusterId("c1"), "0-1")
    assert reaches("100-0", "99-5")
    assert not reaches("", "0-0")


def test_reasons_know_failures() -> None:
    assert [reason for reason in EndReason if reason.failure] == [
        EndReason.START_TIMEOUT,
        EndReason.SCHEDULER_LOST,
        EndReason.OUT_OF_MEMORY,
        EndReason.BACKEND_ERROR,
        EndReason.WORKERS_FAILED,
    ]
    assert Demand() == Demand(clusters=0)
