"""The mirror: what the store has, with handlers that hear of every difference once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.builders import ANN, connected_report, event, new_cluster, running_cluster, worker
from tests.controller.conftest import Recorder
from tests.controller.damage import overwrite
from tests.controller.emptying import empty, next_millisecond
from tests.controller.mirror.mirrors import Log, Replica, replica, retagged

from headrace.errors import StoreUnavailable
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId, Demand, Phase, Status, UserId
from headrace_controller.store import ChangeKind, Fence, Store
from headrace_controller.store.reads import Found, Reads

NOBODY = ClusterId("c-nobody")


@pytest.fixture
async def one(redis_url: str, redis: Redis, keys: Keys) -> AsyncIterator[Replica]:
    _ = redis  # flushed
    async with replica(redis_url, keys) as made:
        yield made


@pytest.fixture
async def two(redis_url: str, redis: Redis, keys: Keys) -> AsyncIterator[Replica]:
    _ = redis
    async with replica(redis_url, keys) as made:
        yield made


async def change(store: Store, seen: Cluster, tag: str) -> Cluster:
    return await store.records.change(
        seen, lambda cluster: retagged(cluster, tag), demand=lambda _: Demand(clusters=1), limits={}
    )


async def test_a_mirror_starts_with_all_records(store: Store, record: Recorder, redis_url: str, keys: Keys) -> None:
    clusters = [await record(new_cluster(f"c{n:03}")) for n in range(250)]
    async with replica(redis_url, keys) as late:
        await late.mirror.ready.wait()
        assert late.mirror.ids() == [cluster.id for cluster in reversed(clusters)]
        assert late.known() == await late.stored()
        assert len(late.log.calls) == 250
        assert late.mirror.place(clusters[7].id) == clusters[7].revision


async def test_own_writes_are_there_at_once_and_others_soon(
    store: Store, record: Recorder, fence: Fence, one: Replica, two: Replica, eventually: Eventually
) -> None:
    created = await record(new_cluster("c1", alias="etl"))
    one.mirror.apply(created)
    assert one.mirror.get(created.id) == created
    assert one.mirror.by_alias(ANN, "etl") == "c1"
    changed = await change(store, created, "a")
    ended = await store.records.save_status(
        changed, replace(changed, status=Status(phase=Phase.FAILED, ended=1.0)), fence=fence
    )
    await eventually(lambda: two.mirror.get(created.id) == ended)
    assert two.mirror.by_alias(ANN, "etl") is None
    assert two.mirror.ids(ANN, living=True) == []
    assert two.mirror.ids(ANN, living=False) == ["c1"]
    await store.records.remove(created.id)
    await eventually(lambda: two.mirror.get(created.id) is None)
    await eventually(lambda: one.mirror.get(created.id) is None)
    assert one.log.calls[0] == "added c1"
    assert one.log.calls[-1] == "removed c1"
    assert one.known() == two.known() == {}


@contextmanager
def held_reads(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Has the mirror of a replica read no record meanwhile: it hears of none before the test says so."""
    differing, goes_on = Reads.differing, asyncio.Event()

    async def later(self: Reads, *arguments: Any, **options: Any) -> Mapping[ClusterId, Found]:
        if self is replica.store.reads:
            await goes_on.wait()
        return await differing(self, *arguments, **options)

    monkeypatch.setattr(Reads, "differing", later)
    yield
    goes_on.set()


async def test_the_writer_of_a_record_does_not_hear_of_it_itself(
    store: Store, record: Recorder, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Log()
    one.mirror.connect(other)
    created = await record(new_cluster("c1"))
    one.mirror.apply(created)
    await one.mirror.fresh()
    with held_reads(one, monkeypatch):
        one.mirror.apply(await change(store, created, "a"), by=one.log)
    await one.mirror.fresh()  # what it has written comes by the stream, too
    assert one.log.calls == ["added c1"]
    assert other.calls == ["added c1", "updated c1"]
    one.mirror.apply(created)  # older
    assert other.calls == ["added c1", "updated c1"]


async def test_a_faulty_handler_keeps_nobody_else_from_hearing(record: Recorder, one: Replica) -> None:
    class Faulty(Log):
        def added(self, cluster: Cluster) -> None:
            raise ValueError("a fault")

    after = Log()
    one.mirror.connect(Faulty())
    one.mirror.connect(after)
    await record(new_cluster("c1"))
    await record(new_cluster("c2"))
    await one.mirror.fresh()
    assert after.calls == ["added c1", "added c2"]
    assert len(one.known()) == 2


async def test_after_fresh_every_acknowledged_write_is_there(store: Store, one: Replica) -> None:
    async def write(n: int) -> None:
        cluster = new_cluster(f"c{n}")
        created, _ = await store.records.create(
            cluster, secrets=b"", demand=Demand(clusters=1), limits={}, event=event()
        )
        for tag in "abc":
            created = await change(store, created, tag)
            await one.mirror.fresh()
            assert one.mirror.get(created.id) == created

    await asyncio.gather(*(write(n) for n in range(20)))


async def test_fresh_reads_once_for_all_and_nothing_for_each_cluster(
    redis: Redis, record: Recorder, one: Replica, two: Replica
) -> None:
    await asyncio.gather(one.mirror.ready.wait(), two.mirror.ready.wait())  # so that the stream tells of these:
    for n in range(30):
        await record(new_cluster(f"c{n}"))
    await asyncio.gather(one.mirror.fresh(), two.mirror.fresh())
    await redis.config_resetstat()
    await asyncio.gather(*(one.mirror.fresh() for _ in range(100)))
    stats = {name: stat["calls"] for name, stat in (await redis.info("commandstats")).items()}
    assert stats.pop("cmdstat_get") == 1
    assert stats.keys() <= {"cmdstat_xread", "cmdstat_xrange", "cmdstat_config|resetstat", "cmdstat_info"}


async def test_at_least_waits_for_a_revision_and_not_for_long(store: Store, record: Recorder, one: Replica) -> None:
    created = await record(new_cluster("c1"))
    waiting = asyncio.create_task(one.mirror.at_least(created.id, created.revision, 60))
    assert await waiting == created
    assert await one.mirror.at_least(created.id, created.revision, 0) == created
    assert await one.mirror.at_least(created.id, created.revision + 10**6, 0.01) is None
    assert await one.mirror.at_least(NOBODY, created.revision + 10**6, 0.01) is None
    changed = asyncio.create_task(one.mirror.at_least(created.id, created.revision + 1, 60))
    await asyncio.sleep(0)
    newest = await change(store, created, "a")
    assert await changed == newest
    assert await one.mirror.at_least(NOBODY, created.revision, 60) is None  # all up to there is known


async def test_the_version_counts_what_people_see(store: Store, record: Recorder, fence: Fence, one: Replica) -> None:
    async def version() -> tuple[int, int, int]:
        await one.mirror.fresh()
        return one.mirror.version(ANN), one.mirror.version(None), one.mirror.version(UserId("bob"))

    cluster = await record(new_cluster("c1"))
    versions = [await version()]
    for report in (
        connected_report(),
        connected_report(sequence=2, clients=3, idle_since=5.0, joined={"default-1-a": "tls://1"}),
    ):
        cluster = await store.records.save_report(cluster, report)
        assert await version() == versions[-1]
    cluster = await store.records.save_report(cluster, connected_report(sequence=3, versions={"dask": "1"}))
    versions.append(await version())
    cluster = await change(store, cluster, "a")
    versions.append(await version())
    with_worker = replace(cluster, workers={w.id: w for w in [worker("default-1-a")]})
    cluster = await store.records.save_status(cluster, with_worker, fence=fence)
    versions.append(await version())
    await store.records.save_status(
        cluster, replace(cluster, status=Status(phase=Phase.FAILED, ended=1.0)), fence=fence
    )
    versions.append(await version())
    await store.records.remove(cluster.id)
    versions.append(await version())
    assert len(set(versions)) == 6
    assert versions == sorted(versions)
    await record(new_cluster("c2", owner="bob"))
    mine, everybodys, bobs = await version()
    assert mine == versions[-1][0]
    assert everybodys > versions[-1][1]
    assert bobs == 1


async def test_the_version_counts_a_change_that_was_taken_back(store: Store, record: Recorder, one: Replica) -> None:
    cluster = await record(new_cluster("c1"))
    await one.mirror.fresh()
    before = one.mirror.version(ANN)
    one.mirror.apply(replace(cluster, generation=cluster.generation + 2, revision=cluster.revision + 1))
    assert one.mirror.version(ANN) == before + 1


async def test_the_version_counts_another_place(redis: Redis, record: Recorder, one: Replica) -> None:
    await record(new_cluster("c1"))
    await one.mirror.fresh()
    before, place = one.mirror.version(ANN), one.mirror.place(ClusterId("c1"))
    await empty(redis)
    await record(new_cluster("c1"))
    await one.mirror.fresh()
    assert one.mirror.place(ClusterId("c1")) > place
    assert one.mirror.version(ANN) > before


async def test_followers_see_a_change_only_once_its_record_is_here(
    store: Store, record: Recorder, one: Replica
) -> None:
    await one.mirror.ready.wait()
    position = await store.changes.head()
    for n in range(30):
        await record(new_cluster(f"c{n}"))
    seen = 0
    while seen < 30:
        changes, position = await one.mirror.changes.about(None, position, 5)
        for change_ in changes:
            if change_.kind is ChangeKind.RECORD:
                seen += 1
                assert one.mirror.get(change_.cluster)


async def test_what_was_missed_is_found_after_a_gap(
    redis: Redis, keys: Keys, store: Store, record: Recorder, fence: Fence, one: Replica, eventually: Eventually
) -> None:
    same, changed, gone = [await record(new_cluster(f"c{n}")) for n in range(3)]
    gone = await store.records.save_status(
        gone, replace(gone, status=Status(phase=Phase.FAILED, ended=1.0)), fence=fence
    )
    await one.mirror.fresh()
    one.log.calls.clear()
    async with redis.pipeline() as pipeline:  # nothing of this comes by the stream
        pipeline.hset(keys.record(changed.id), mapping={"secrets": b"other", "revision": changed.revision + 1})
        pipeline.delete(keys.record(gone.id), keys.events(gone.id))
        pipeline.zrem(keys.ended(), gone.id)
        pipeline.xtrim(keys.changes(), maxlen=0, approximate=False)
        await pipeline.execute()
    await eventually(lambda: one.mirror.get(gone.id) is None)
    assert sorted(one.log.calls) == ["removed c2", "updated c1"]
    assert one.known() == await one.stored()
    assert one.mirror.get(same.id) == same


async def test_with_the_store_emptied_everything_is_removed_and_comes_again(
    redis: Redis, store: Store, record: Recorder, one: Replica
) -> None:
    before = await record(running_cluster(worker("default-1-a"), name="c1"))
    await record(new_cluster("c2"))
    await one.mirror.fresh()
    await empty(redis)
    await one.mirror.fresh()
    assert one.known() == {}
    adopted = await store.records.adopt(before, secrets=b"", demand=Demand(clusters=1))
    assert adopted is not None
    one.mirror.apply(adopted)
    await one.mirror.fresh()
    assert one.known() == {adopted.id: adopted}
    assert adopted.revision > before.revision
    assert one.log.calls[-1] == "added c1"


async def test_writes_that_the_store_has_lost_are_taken_back(
    redis: Redis, keys: Keys, store: Store, record: Recorder, one: Replica, eventually: Eventually
) -> None:
    """As after a failover to a replica of Redis that had not got the latest writes."""
    await one.mirror.ready.wait()
    cluster = await record(new_cluster("c1"))
    kept = {key: await redis.dump(key) for key in await redis.keys()}
    lost = await change(store, cluster, "lost")
    await record(new_cluster("c2"))
    await one.mirror.fresh()
    assert one.mirror.get(cluster.id) == lost

    async with redis.pipeline() as pipeline:
        pipeline.flushall()
        for key, content in kept.items():
            pipeline.restore(key, 0, content or b"")
        await pipeline.execute()
    await next_millisecond(redis)
    other = await change(store, cluster, "other")

    await eventually(lambda: one.mirror.get(cluster.id) == other)
    await one.mirror.fresh()
    assert one.known() == {cluster.id: other}


async def test_verifying_repairs_what_no_event_has_told(
    redis: Redis, keys: Keys, record: Recorder, one: Replica
) -> None:
    cluster, other = await record(new_cluster("c1")), await record(new_cluster("c2"))
    await one.mirror.fresh()
    await redis.hset(keys.record(cluster.id), "revision", cluster.revision + 1)
    await one.mirror.verify([cluster.id, other.id])
    assert one.mirror.get(cluster.id) == replace(cluster, revision=cluster.revision + 1)
    assert one.log.calls == ["added c1", "added c2", "updated c1"]


async def test_a_record_that_cannot_be_read_harms_no_other(
    redis: Redis, keys: Keys, store: Store, record: Recorder, one: Replica
) -> None:
    cluster, other = await record(new_cluster("c1")), await record(new_cluster("c2"))
    await one.mirror.fresh()
    spec = await redis.hget(keys.record(cluster.id), "spec")
    await overwrite(redis, keys, cluster.id, spec=b"\xc1")
    changed = await change(store, other, "a")
    await one.mirror.fresh()
    assert one.mirror.get(other.id) == changed
    assert one.mirror.get(cluster.id) == cluster  # as it was last
    assert one.mirror.set_aside(cluster.id) == ANN
    assert REGISTRY.get_sample_value("headrace_controller_unreadable_records") == 1

    await overwrite(redis, keys, cluster.id, spec=spec)
    await one.mirror.fresh()
    assert one.mirror.set_aside(cluster.id) is None
    assert one.known() == await one.stored()
    assert REGISTRY.get_sample_value("headrace_controller_unreadable_records") == 0


async def test_a_record_that_could_never_be_read_is_set_aside_until_it_is_removed(
    redis: Redis, redis_url: str, keys: Keys, record: Recorder, eventually: Eventually
) -> None:
    cluster = await record(new_cluster("c1"))
    await redis.hset(keys.record(cluster.id), "spec", b"\xc1")
    async with replica(redis_url, keys) as late:  # which has never read it before that
        await late.mirror.ready.wait()
        assert late.mirror.set_aside(cluster.id) == ANN
        assert late.mirror.get(cluster.id) is None
        await redis.delete(keys.record(cluster.id), keys.events(cluster.id))
        await redis.zrem(keys.living(), cluster.id)
        late.mirror.changes.invalidate()
        await eventually(lambda: late.mirror.set_aside(cluster.id) is None)


async def test_without_a_store_fresh_fails_and_the_mirror_goes_on_trying(keys: Keys, tmp_path: Path) -> None:
    async with replica(f"unix://{tmp_path}/none?db=0", keys) as away:
        with pytest.raises(StoreUnavailable):
            await away.mirror.fresh()
        assert not away.mirror.ready.is_set()


async def test_own_writes_that_the_store_has_lost_are_taken_back(
    store: Store, record: Recorder, one: Replica, eventually: Eventually
) -> None:
    """As after a failover, when the stream had not told this replica of its writes yet."""
    cluster, other = await record(new_cluster("c1")), await record(new_cluster("c2"))
    await one.mirror.fresh()
    lost = replace(cluster, spec=replace(cluster.spec, tags={"a": "lost"}), revision=other.revision + 10)
    one.mirror.apply(lost)
    never_there = replace(new_cluster("c3"), revision=other.revision + 11)
    one.mirror.apply(never_there)
    changed = await change(store, other, "a")  # later than both
    await eventually(lambda: one.mirror.get(other.id) == changed)
    assert one.known() == {cluster.id: cluster, other.id: changed}


async def test_own_writes_to_a_store_that_was_emptied_are_taken_back_by_fresh(
    redis: Redis, record: Recorder, one: Replica
) -> None:
    await one.mirror.ready.wait()
    await empty(redis)
    one.mirror.apply(await record(new_cluster("c1")))
    await empty(redis)
    await one.mirror.fresh()
    assert one.known() == {}
