"""Watches and followed logs go on where they broke off; lists have all their pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import dask.config
import pytest
from tests.client.fake_cluster import FakeCluster
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import errors
from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace._wire.creating import Wanted, get_or_create
from headrace._wire.logs import read_logs
from headrace._wire.watch import follow_events, wait_until_ended, wait_until_running
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb

ALL = calls.cluster_filter()


@pytest.fixture
async def starting(fake: FakeHeadrace, connection: Connection) -> FakeCluster:
    """A cluster that runs once a test sets its phase."""
    fake.starts = False
    cluster, _ = await get_or_create(connection, Wanted(cluster_pb2.ClusterSpec()))
    return fake.clusters[calls.cluster_id(cluster.name)]


@pytest.fixture
def impatient() -> Iterator[None]:
    """Transient errors are raised after a fifth of a second."""
    with dask.config.set({"headrace.timeouts.call": "200ms"}):
        yield


async def test_a_watch_goes_on_after_a_drain_without_repeating_events(
    fake: FakeHeadrace, connection: Connection, starting: FakeCluster, eventually: Eventually
) -> None:
    fake.break_off("WatchClusters", 1, 0, 1)
    seen: list[str] = []
    waiting = asyncio.ensure_future(
        wait_until_running(connection, starting.record, lambda step: seen.append(step.event.message), timeout=30)
    )
    await eventually(lambda: fake.calls.count("WatchClusters") >= 3)
    fake.add_event(starting, "one more thing")
    await eventually(lambda: "one more thing" in seen)
    fake.run(starting)
    assert (await waiting).status.phase == cluster_pb2.PHASE_RUNNING
    assert [message for message in seen if message] == ["the scheduler is being started", "one more thing"]
    assert fake.requests_of(pb.WatchClustersRequest)[-1].resume_token


async def test_the_time_in_the_queue_does_not_count_towards_the_start(
    fake: FakeHeadrace, connection: Connection, starting: FakeCluster
) -> None:
    starting.record.status.phase = cluster_pb2.PHASE_QUEUED
    starting.changed()
    queued = cluster_pb2.Cluster.FromString(starting.record.SerializeToString())
    waiting = asyncio.ensure_future(wait_until_running(connection, queued, lambda _: None, timeout=0.05))
    assert not (await asyncio.wait([waiting], timeout=0.3))[0]
    starting.record.status.phase = cluster_pb2.PHASE_STARTING
    starting.changed()
    fake.add_event(starting, "There is room for the cluster.")
    with pytest.raises(errors.DeadlineExceeded, match=r"does not run after 0\.05 s"):
        await waiting


async def test_a_history_that_is_gone_is_watched_from_the_start(
    fake: FakeHeadrace, connection: Connection, starting: FakeCluster
) -> None:
    fake.fail("WatchClusters", errors.ResumeTokenTooOld("too old"))
    fake.run(starting)
    assert (await wait_until_running(connection, starting.record, lambda _: None)).status.phase


async def test_a_quiet_watch_goes_on_after_an_absence(
    fake: FakeHeadrace, connection: Connection, starting: FakeCluster, impatient: None, eventually: Eventually
) -> None:
    """It had nothing to say for longer than a call may take; then headrace is away for longer, too."""
    events: list[str] = []

    async def follow() -> None:
        async for event in follow_events(connection, starting.record.name):
            events.append(event.message)  # noqa: PERF401 - one by one

    following = asyncio.create_task(follow())
    await eventually(lambda: events == ["the scheduler is being started"])
    await asyncio.wait([following], timeout=0.3)
    await asyncio.to_thread(fake.stop_server)
    assert not (await asyncio.wait([following], timeout=0.3))[0]
    await asyncio.to_thread(fake.restart_server)
    fake.add_event(starting, "the last words")
    fake.set_phase(starting, cluster_pb2.PHASE_STOPPED)
    await following
    assert events == ["the scheduler is being started", "the last words"]


async def test_a_server_that_stays_away_is_given_up(
    fake: FakeHeadrace, connection: Connection, starting: FakeCluster, impatient: None
) -> None:
    fake.fail("WatchClusters", *[errors.StoreUnavailable("the store is away")] * 100)
    with pytest.raises(errors.StoreUnavailable, match="the store is away"):
        await wait_until_ended(connection, starting.record.name)


async def test_a_deleted_record_ends_a_watch(fake: FakeHeadrace, connection: Connection, starting: FakeCluster) -> None:
    del fake.clusters[starting.id]
    with pytest.raises(errors.ClusterNotFound):
        await wait_until_ended(connection, starting.record.name)


async def test_events_are_followed_to_the_end(
    fake: FakeHeadrace, connection: Connection, starting: FakeCluster, eventually: Eventually
) -> None:
    fake.break_off("WatchClusters", 2)
    seen: list[str] = []

    async def follow() -> None:
        async for event in follow_events(connection, starting.record.name):
            seen.append(event.message)  # noqa: PERF401 - looked at meanwhile

    following = asyncio.ensure_future(follow())
    await eventually(lambda: seen)
    fake.add_event(starting, "the last words")
    await calls.stop(connection, starting.id)
    await following
    assert seen == ["the scheduler is being started", "the last words"]


async def test_followed_logs_go_on_after_a_drain_without_repeating_lines(
    fake: FakeHeadrace, connection: Connection, starting: FakeCluster
) -> None:
    fake.break_off("ReadLogs", 2, 3, 0)
    pieces = read_logs(connection, starting.id, tail_lines=2, follow=True)
    read = [(piece.process, piece.lines) async for piece in pieces]
    lines = [b"line 1\n", b"line 2\n"]
    assert read == [
        (process, line)
        for process in ("scheduler", "default-0-abcdef")
        for line in [*(process.encode() + b" " + line for line in lines), b"later\n"]
    ]


async def test_lists_have_all_their_pages(fake: FakeHeadrace, connection: Connection, starting: FakeCluster) -> None:
    for n in range(6):
        await get_or_create(connection, Wanted(cluster_pb2.ClusterSpec(tags={"n": str(n)})))
        fake.add_event(starting, f"event {n}")
    assert [cluster.spec.tags["n"] for cluster in (await calls.list_clusters(connection, ALL))[:6]] == list("543210")
    assert len(await calls.events(connection, starting.id)) == 7
    sizes = [request.page_size for request in fake.requests_of(pb.ListClustersRequest)]
    assert sizes == [1000] * 3
