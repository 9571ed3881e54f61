"""Workers are kept piece by piece: one worker's change costs the same among thousands."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from tests.controller.builders import connected_report, new_cluster, worker
from tests.controller.conftest import Recorder

from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, Demand, Departure, Group, Report, WorkerId, WorkerState
from headrace_controller.store import Fence, Store, StoredCluster


def with_workers(count: int) -> Cluster:
    names = [f"default-{n}-abcdef" for n in range(1, count + 1)]
    return replace(new_cluster(), workers={WorkerId(name): worker(name) for name in names})


def turned(cluster: Cluster, name: str, state: WorkerState) -> Cluster:
    changed = replace(cluster.workers[WorkerId(name)], state=state)
    return replace(cluster, workers={**cluster.workers, changed.id: changed})


@asynccontextmanager
async def counted(redis: Redis, counter: str) -> AsyncGenerator[list[int]]:
    """Puts into the list by how much a counter of Redis grows."""
    difference: list[int] = []
    before = int((await redis.info("stats"))[counter])
    yield difference
    difference.append(int((await redis.info("stats"))[counter]) - before)


async def test_workers_come_oldest_first_however_they_are_stored(store: Store, record: Recorder) -> None:
    cluster = await record(with_workers(300))
    assert list((await store.reads.get(cluster.id)).workers) == list(cluster.workers)


@pytest.mark.parametrize("counter", ["total_net_input_bytes", "total_net_output_bytes"])
async def test_one_workers_change_costs_the_same_among_many(
    redis: Redis, store: Store, record: Recorder, fence: Fence, counter: str
) -> None:
    costs: list[list[int]] = []
    for count in (1, 2000):
        cluster = await record(with_workers(count))
        joined = dict.fromkeys(cluster.workers, "tls://10.0.0.1:1")
        cluster = await store.records.save_report(cluster, connected_report(joined=joined))
        last = list(cluster.workers)[-1]
        costs.append([])
        async with counted(redis, counter) as cost:
            saved = await store.records.save_status(cluster, turned(cluster, last, WorkerState.RUNNING), fence=fence)
        costs[-1] += cost
        async with counted(redis, counter) as cost:
            left = replace(saved.report, joined={name: joined[name] for name in joined if name != last})
            saved = await store.records.save_report(saved, left)
        costs[-1] += cost
        async with counted(redis, counter) as cost:
            saved = await store.records.change(
                saved,
                lambda seen: replace(seen, spec=replace(seen.spec, groups=(Group(size=5),))),
                demand=lambda _: Demand(clusters=1),
                limits={},
            )
        costs[-1] += cost
        async with counted(redis, counter) as cost:  # as another replica reads all three
            assert await store.reads.newest(cluster) == saved
        costs[-1] += cost
    few, many = costs
    assert all(of_many <= of_few + 100 for of_few, of_many in zip(few, many, strict=True)), costs


async def test_one_workers_change_writes_one_field(
    redis: Redis, keys: Keys, store: Store, record: Recorder, fence: Fence
) -> None:
    cluster = await record(with_workers(50))
    for name in list(cluster.workers)[:-1]:
        await redis.hset(keys.workers(cluster.id), f"worker/{name}", b"untouched")
    last = list(cluster.workers)[-1]
    saved = await store.records.save_status(cluster, turned(cluster, last, WorkerState.FAILED), fence=fence)
    fields = await redis.hgetall(keys.workers(cluster.id))
    assert sum(piece == b"untouched" for piece in fields.values()) == 49
    touched = await redis.zrangebyscore(keys.touched(cluster.id), saved.revision, "+inf")
    assert touched == [last.encode()]


async def test_another_reader_learns_of_changed_new_and_removed_workers(
    store: Store, record: Recorder, fence: Fence
) -> None:
    seen = await record(with_workers(4))
    one, two, three, four = seen.workers
    joined = Report(session=1, joined={one: "a", two: "b"}, retired=frozenset({three}))
    newest = await store.records.save_report(seen, joined)
    left = replace(joined, joined={two: "b"}, retired=frozenset(), departures={one: Departure(results_lost=1)})
    newest = await store.records.save_report(newest, replace(left, sequence=1))
    workers = {
        name: record for name, record in turned(newest, two, WorkerState.RUNNING).workers.items() if name != four
    }
    workers[WorkerId("default-9-z")] = worker("default-9-z")
    newest = await store.records.save_status(newest, replace(newest, workers=workers), fence=fence)

    again = await store.reads.newest(seen)

    assert again == newest == await store.reads.get(seen.id)
    assert list(again.workers) == [one, two, three, "default-9-z"]
    assert await store.reads.newest(again) is again


async def test_removals_of_long_ago_are_forgotten_and_an_old_reader_reads_all(
    redis: Redis, keys: Keys, store: Store, record: Recorder, fence: Fence
) -> None:
    seen = newest = await record(with_workers(2))
    for n in range(4):
        batch = {WorkerId(f"other-{n}-{m}"): worker(f"other-{n}-{m}") for m in range(150)}
        more = replace(newest, workers={**newest.workers, **batch})
        newest = await store.records.save_status(newest, more, fence=fence)
        less = replace(newest, workers=seen.workers)
        newest = await store.records.save_status(newest, less, fence=fence)
    assert await redis.zcard(keys.touched(seen.id)) < 450
    assert await store.reads.newest(seen) == newest
    assert newest.workers == seen.workers
    kept = await redis.zscore(keys.touched(seen.id), next(iter(seen.workers)))
    assert kept is not None  # of those that are there, all are known


async def test_what_was_seen_of_writes_that_were_lost_is_read_whole(store: Store, record: Recorder) -> None:
    cluster = await record(with_workers(2))
    lost = replace(turned(cluster, "default-1-abcdef", WorkerState.FAILED), revision=cluster.revision + 10)
    found = await store.reads.differing({cluster.id: lost}, whole=True)
    stored = found[cluster.id]
    assert isinstance(stored, StoredCluster)
    assert stored.cluster == cluster
    assert stored.place == cluster.revision
