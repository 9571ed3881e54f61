"""Streams: every write is announced, in order, and a reader that comes too late is told so."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.controller.builders import ANN, connected_report, event, new_cluster
from tests.controller.conftest import Recorder
from tests.controller.emptying import empty

from headrace.access import Access, Share
from headrace.errors import ResumeTokenTooOld
from headrace.v1.enums import EventType, Right
from headrace_chassis.routes import Route
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId, Demand, Phase, Report, Status
from headrace_controller.store import Acknowledgement, Change, ChangeKind, Fence, Store, reaches
from headrace_controller.store.routes import READER_SECONDS

REPORT = connected_report(scheduler_address="tls://10.0.0.7:1", dashboard_address="http://10.0.0.7:2/")


def failed(cluster: Cluster) -> Cluster:
    return replace(cluster, status=Status(phase=Phase.FAILED, ended=1.0))


async def changes(store: Store, after: str) -> list[Change]:
    return list((await store.changes.read(after))[0])


async def test_each_write_is_announced_with_its_revision(store: Store, record: Recorder, fence: Fence) -> None:
    start = await store.changes.head()
    cluster = await record(new_cluster())
    reported = await store.records.save_report(cluster, Report(session=1), events=[event("a")])
    shown = await store.records.save_report(reported, Report(session=2, versions={"dask": "1"}))
    ended = await store.records.save_status(shown, failed(shown), fence=fence, events=[event("b"), event("c")])
    added = await store.events.add(cluster.id, ANN, event("d", time=4.0))
    await store.records.remove(cluster.id)

    found = await changes(store, start)

    assert [(change.kind, change.revision) for change in found if change.event is None][:-1] == [
        (ChangeKind.RECORD, cluster.revision),
        (ChangeKind.REPORT, reported.revision),
        (ChangeKind.RECORD, shown.revision),
        (ChangeKind.RECORD, ended.revision),
    ]
    revisions = [change.revision for change in found if change.event is None]
    assert revisions == sorted(set(revisions))
    assert found[-1].kind is ChangeKind.REMOVED
    events = [change.event for change in found if change.event is not None]
    assert [event.message for event in events] == ["Created by ann.", "a", "b", "c", "d"]
    assert events[-1] == added
    assert {(change.cluster, change.owner) for change in found} == {(cluster.id, ANN)}
    assert await store.changes.head() == found[-1].id
    assert await changes(store, found[-1].id) == []
    assert await changes(store, found[2].id) == found[3:]


async def test_entries_of_an_unknown_kind_or_that_cannot_be_read_are_passed_over(
    redis: Redis, keys: Keys, store: Store, record: Recorder
) -> None:
    await record(new_cluster())
    start = await store.changes.head()
    await redis.xadd(keys.changes(), {"kind": "moved", "cluster": "c1", "owner": "ann", "revision": "5"})
    await redis.xadd(keys.changes(), {"kind": "record"})
    await redis.xadd(keys.changes(), {"kind": "event", "event": b"\xc1", "event_id": "1-0"})
    assert await store.changes.read(start) == ([], await store.changes.head())


async def test_events_of_a_cluster_come_oldest_first_after_an_id(store: Store, record: Recorder) -> None:
    cluster, other = await record(new_cluster()), await record(new_cluster())
    for n in range(4):
        await store.events.add(cluster.id, ANN, event(f"{n}", type=EventType.UPDATED))
    events = await store.events.list(cluster.id)
    assert [event.message for event in events] == ["Created by ann.", "0", "1", "2", "3"]
    assert await store.events.list(cluster.id, events[1].id, 2) == events[2:4]
    many = await store.events.list_many([cluster.id, other.id, ClusterId("c-nobody")], 3)
    assert {id_: len(found) for id_, found in many.items()} == {cluster.id: 3, other.id: 1, "c-nobody": 0}


async def test_a_waiting_reader_gets_the_next_change(store: Store, record: Recorder) -> None:
    cluster = await record(new_cluster())
    waiting = asyncio.create_task(store.changes.wait(await store.changes.head(), 4000))
    await store.records.save_report(cluster, Report(session=1))
    found, _ = await waiting
    assert [change.kind for change in found] == [ChangeKind.REPORT]


async def test_waiting_ends_when_nothing_happens(store: Store) -> None:
    head = await store.changes.head()
    assert await store.changes.wait(head, 5) == ([], head)


async def test_a_token_from_before_the_history_is_too_old(
    redis: Redis, keys: Keys, store: Store, record: Recorder
) -> None:
    beginning = await store.changes.head()
    await record(new_cluster())
    first = await store.changes.head()
    await record(new_cluster())
    await redis.xtrim(keys.changes(), maxlen=1, approximate=False)
    for token in (beginning, first, "", "nonsense", "99999999999999-0"):
        with pytest.raises(ResumeTokenTooOld):
            await store.changes.read(token)
    assert await changes(store, await store.changes.head()) == []


async def test_a_token_from_before_redis_was_emptied_is_too_old(redis: Redis, store: Store, record: Recorder) -> None:
    before = await record(new_cluster())
    token = await store.changes.head()
    await empty(redis)
    with pytest.raises(ResumeTokenTooOld):
        await store.changes.read(token)
    after = await record(new_cluster())
    with pytest.raises(ResumeTokenTooOld):
        await store.changes.read(token)
    assert after.revision > before.revision


async def test_a_token_of_an_entry_that_redis_has_lost_is_too_old(
    redis: Redis, keys: Keys, store: Store, record: Recorder
) -> None:
    await record(new_cluster())
    token = await store.changes.head()
    await record(new_cluster())
    await redis.xdel(keys.changes(), token)
    with pytest.raises(ResumeTokenTooOld):
        await store.changes.read(token)


async def test_a_route_comes_with_the_addresses_and_goes_with_the_end(
    store: Store, record: Recorder, fence: Fence
) -> None:
    assert await store.routes.all() == ("0-0", [])
    cluster = await record(replace(new_cluster(), groups=("lab",)))
    silent = await store.records.save_report(cluster, Report(session=1))
    assert not silent.report.route_version

    saved = await store.records.save_report(silent, REPORT)
    again = await store.records.save_report(saved, replace(REPORT, sequence=2, clients=1))
    unknown = await store.records.save_report(again, Report(session=1, sequence=3))

    route = Route(
        cluster=cluster.id,
        access=Access(owner=ANN, groups=("lab",)),
        scheduler_address="10.0.0.7:1",
        dashboard_address="10.0.0.7:2",
    )
    version = saved.report.route_version
    assert again.report.route_version == unknown.report.route_version == version
    assert await store.routes.all() == (version, [route])

    moved = await store.records.save_report(unknown, replace(REPORT, session=2, scheduler_address="tls://10.0.0.7:9"))
    assert moved.report.route_version != version
    await store.records.save_status(moved, failed(moved), fence=fence)

    log, end = await store.routes.log.read("0-0")
    assert [entry.route for entry in log] == [route, replace(route, scheduler_address="10.0.0.7:9"), None]
    assert [entry.id for entry in log][:2] == [version, moved.report.route_version]
    assert await store.routes.all() == (end, [])
    assert (await store.routes.log.read(version))[0] == log[1:]


async def test_a_route_changes_with_the_shares(store: Store, record: Recorder) -> None:
    shares = (
        Share("users/bob", frozenset({Right.CLUSTER_VIEW, Right.CLUSTER_SCALE})),
        Share("groups/lab", frozenset()),
    )

    def share(cluster: Cluster) -> Cluster:
        return replace(cluster, spec=replace(cluster.spec, shares=shares))

    def demand(_: Cluster) -> Demand:
        return Demand(clusters=1)

    early = await record(new_cluster())
    await store.records.change(early, share, demand=demand, limits={})
    assert await store.routes.all() == ("0-0", [])

    stale = await record(new_cluster())
    reported = await store.records.save_report(stale, REPORT)
    shared = await store.records.change(stale, share, demand=demand, limits={})  # the report is not known to it yet
    version, (route,) = await store.routes.all()
    assert route.access.shares == shares
    assert route.scheduler_address == "10.0.0.7:1"
    assert version != reported.report.route_version
    again = await store.records.save_report(reported, replace(REPORT, sequence=2))
    assert await store.routes.all() == (version, [route])
    assert again.report.route_version == version
    assert again.spec == shared.spec


async def test_a_cluster_that_ends_without_a_route_leaves_the_log_alone(
    store: Store, record: Recorder, fence: Fence
) -> None:
    cluster = await record(new_cluster())
    await store.records.save_status(cluster, failed(cluster), fence=fence)
    assert await store.routes.log.read("0-0") == ([], "0-0")


async def test_readers_count_until_their_time_is_over(store: Store) -> None:
    start = await store.changes.head()
    for name in ("proxy-0", "proxy-1", "proxy-0"):
        await store.routes.register(name, 30)
    nothing = Acknowledgement(version="")
    assert await store.routes.readers() == {"proxy-0": nothing, "proxy-1": nothing}

    in_use = Acknowledgement(version="5-1", rejected=frozenset({ClusterId("c1"), ClusterId("c2")}))
    for _ in range(2):
        await store.routes.acknowledge("proxy-0", in_use, 30)
    await store.routes.register("proxy-0", 30)
    await store.routes.acknowledge("proxy-1", Acknowledgement(version="4-0"), 0)

    assert await store.routes.readers() == {"proxy-0": in_use}
    announced = [(change.reader, change.in_use) for change in await changes(store, start)]
    assert announced == [
        ("proxy-0", nothing),
        ("proxy-1", nothing),
        ("proxy-0", in_use),
        ("proxy-1", Acknowledgement(version="4-0")),
    ]


async def test_a_reader_counts_no_longer_when_the_clock_is_set_back(redis: Redis, keys: Keys, store: Store) -> None:
    await store.routes.register("proxy-0", 30)
    await redis.zadd(keys.readers(), {"proxy-0": time.time() + 7200})
    assert list(await store.routes.readers()) == ["proxy-0"]
    assert (await redis.zscore(keys.readers(), "proxy-0") or 0) <= time.time() + READER_SECONDS


def test_an_acknowledgement_covers_what_came_before_it() -> None:
    in_use = Acknowledgement(version="10-2", rejected=frozenset({ClusterId("c2")}))
    cases: list[tuple[str, str, Any]] = [
        ("c1", "10-2", True),
        ("c1", "9-9", True),
        ("c1", "10-3", False),
        ("c1", "", False),
        ("c2", "10-2", False),
    ]
    for cluster, version, covered in cases:
        assert in_use.covers(ClusterId(cluster), version) is covered
    assert not Acknowledgement(version="").covers(ClusterId("c1"), "0-1")
    assert reaches("100-0", "99-5")
    assert not reaches("", "0-0")
