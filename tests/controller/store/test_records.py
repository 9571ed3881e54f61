"""Records: created once, found again, changed by compare-and-set, ended and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tests.controller.builders import (
    ANN,
    connected_report,
    event,
    new_cluster,
    running_cluster,
    running_worker,
    worker,
)
from tests.controller.conftest import Recorder
from tests.controller.damage import overwrite
from tests.controller.emptying import empty

from headrace.access import Share
from headrace.errors import (
    AliasTaken,
    ClusterEnded,
    ClusterNotFound,
    SessionReplaced,
    StaleEtag,
    StoreUnavailable,
)
from headrace.v1 import cluster_pb2
from headrace.v1.enums import EventType, Right
from headrace_chassis.redis.connection import connect
from headrace_controller.api import convert
from headrace_controller.keys import Keys
from headrace_controller.model import (
    AdaptRange,
    Cluster,
    ClusterId,
    Demand,
    Departure,
    Group,
    Phase,
    Report,
    Spec,
    Status,
    WorkerId,
)
from headrace_controller.store import DEPLOYMENT, Fence, FencedOff, RecordUnreadable, Store, StoredCluster, Unreadable
from headrace_controller.store.codec import pack

BOB = "bob:request"
NOBODY = ClusterId("c-nobody")
ADAPTIVE = Spec(groups=(Group(name="default", adapt=AdaptRange(minimum=0, maximum=9)),))


def demand_of(cluster: Cluster) -> Demand:
    workers = sum(cluster.desired(group) for group in cluster.spec.groups)
    return Demand(clusters=1, workers=workers, cores_milli=1000 * (1 + workers), memory_bytes=2**30 * (1 + workers))


def scaled(size: int) -> Callable[[Cluster], Cluster]:
    return lambda cluster: replace(cluster, spec=replace(cluster.spec, groups=(Group(size=size),)))


def targeted(size: int) -> Callable[[Cluster], Cluster]:
    return lambda cluster: replace(cluster, targets={"default": size})


def stopped(cluster: Cluster) -> Cluster:
    return replace(cluster, spec=replace(cluster.spec, stop=True))


def with_phase(cluster: Cluster, phase: Phase) -> Cluster:
    return replace(cluster, status=Status(phase=phase, ended=2000.0 if phase.ended else None))


async def change(store: Store, seen: Cluster, how: Callable[[Cluster], Cluster], etag: str = "") -> Cluster:
    return await store.records.change(seen, how, etag=etag, demand=demand_of, limits={})


async def test_a_record_is_read_as_it_was_written(store: Store, record: Recorder) -> None:
    spec = Spec(
        alias="etl",
        profile="gpu",
        options={"a": 1, "b": [], "c": {"d": "e"}, "f": True, "g": 1.5, "h": "i", "j": {"k": 2.5}},
        shares=(Share("users/bob", frozenset({Right.CLUSTER_VIEW}), expires=5.0),),
        lifetime=60.0,
    )
    cluster = replace(
        new_cluster(spec=spec),
        groups=("lab",),
        targets={"default": 3},
        workers={w.id: w for w in [worker("default-1-a")]},
    )

    created, new = await record.again(cluster)

    assert new
    assert created == await store.reads.get(cluster.id)
    assert created == replace(cluster, revision=created.revision)
    assert await store.records.secrets(cluster.id) == b"sealed"
    assert await store.reads.version() == created.revision
    assert await store.reads.exists(cluster.id)


async def test_what_is_not_there_is_not_found(store: Store, fence: Fence) -> None:
    nobody = new_cluster(NOBODY)
    for question in (
        store.reads.get(NOBODY),
        store.reads.newest(nobody),
        store.records.secrets(NOBODY),
        store.records.save_report(nobody, Report()),
        store.records.save_status(nobody, nobody, fence=fence),
        store.events.add(NOBODY, ANN, event()),
        change(store, nobody, scaled(1)),
    ):
        with pytest.raises(ClusterNotFound):
            await question
    assert await store.reads.differing({NOBODY: nobody, ClusterId("c2"): None}) == {NOBODY: None, "c2": None}
    assert await store.reads.differing({}) == {}
    assert not await store.reads.exists(NOBODY)
    assert await store.events.list(NOBODY) == []
    await store.records.remove(NOBODY)


async def test_the_same_request_creates_one_cluster(store: Store, record: Recorder) -> None:
    first = await record(new_cluster(), request_id="r1")
    second, new = await record.again(new_cluster(), request_id="r1")
    others = await record(new_cluster(owner=BOB), request_id="r1")

    assert not new
    assert second == first
    assert others.id != first.id
    assert (await store.usage("users/ann"))["clusters"] == 1


async def test_a_repeated_call_whose_answer_was_lost_has_created_its_cluster(record: Recorder) -> None:
    cluster = new_cluster(alias="etl")
    assert (await record.again(cluster))[1]
    assert (await record.again(cluster))[1]


async def test_an_alias_is_one_cluster_at_a_time(record: Recorder, store: Store, fence: Fence) -> None:
    first = await record(new_cluster(alias="etl"), request_id="r1")
    with pytest.raises(AliasTaken, match=f"clusters/{first.id}") as taken:
        await record(new_cluster(alias="etl"), request_id="r2")
    assert taken.value.details == {"cluster": f"clusters/{first.id}"}
    assert (await record.again(new_cluster(owner=BOB, alias="etl")))[1]

    await store.records.save_status(first, with_phase(first, Phase.FAILED), fence=fence)

    repeated, new = await record.again(new_cluster(alias="etl"), request_id="r1")
    assert (repeated.id, new) == (first.id, False)  # a repeated request never creates a second cluster
    second, new = await record.again(new_cluster(alias="etl"), request_id="r2")
    assert new
    with pytest.raises(AliasTaken, match=f"clusters/{second.id}"):
        await record(new_cluster(alias="etl"))


async def test_of_two_with_one_alias_at_once_exactly_one_is_created(record: Recorder) -> None:
    results = await asyncio.gather(*(record(new_cluster(alias="etl")) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, Cluster) for result in results) == 1
    assert sum(isinstance(result, AliasTaken) for result in results) == 7


@pytest.mark.parametrize("how", [stopped, None])
async def test_a_stopping_cluster_gives_its_alias_away(
    store: Store, record: Recorder, fence: Fence, how: Callable[[Cluster], Cluster] | None
) -> None:
    first = await record(new_cluster(alias="etl"))
    if how:
        await change(store, first, how)
    else:
        await store.records.save_status(first, with_phase(first, Phase.STOPPING), fence=fence)
    assert (await record.again(new_cluster(alias="etl")))[1]


async def test_a_spec_is_changed_and_returned_with_what_others_wrote(store: Store, record: Recorder) -> None:
    seen = await record(new_cluster())
    await store.records.save_report(seen, Report(session=1, sequence=1, clients=3))

    changed = await store.records.change(
        seen, scaled(4), demand=demand_of, limits={}, event=event(type=EventType.SCALE_REQUESTED)
    )

    assert changed == await store.reads.get(seen.id)
    assert changed.generation == 2
    assert changed.spec.groups == (Group(size=4),)
    assert changed.report.clients == 3
    types = [event.type for event in await store.events.list(seen.id)]
    assert types == [EventType.CREATED, EventType.SCALE_REQUESTED]
    assert await store.usage("users/ann") == demand_of(changed)


async def test_targets_change_without_the_generation_and_what_they_ask_for_is_promised(
    store: Store, record: Recorder
) -> None:
    seen = await record(new_cluster(spec=ADAPTIVE))
    changed = await change(store, seen, targeted(5), etag="1")
    assert (changed.generation, changed.targets) == (1, {"default": 5})
    assert changed.revision > seen.revision
    assert changed == await store.reads.get(seen.id)
    assert (await store.usage(DEPLOYMENT))["workers"] == 5
    both = await change(store, changed, lambda cluster: scaled(7)(targeted(0)(cluster)), etag="1")
    assert (both.generation, both.targets) == (2, {"default": 0})


async def test_a_change_without_a_difference_writes_nothing(store: Store, record: Recorder) -> None:
    cluster = await record(new_cluster())
    assert await change(store, cluster, scaled(0)) == cluster
    assert await store.reads.version() == cluster.revision


async def test_an_etag_is_stale_after_a_change_of_the_spec_only(store: Store, record: Recorder, fence: Fence) -> None:
    seen = await record(new_cluster())
    seen = await store.records.save_report(seen, Report(session=1))
    seen = await store.records.save_status(seen, with_phase(seen, Phase.RUNNING), fence=fence)
    changed = await change(store, seen, scaled(2), etag="1")
    for known in (seen, changed):  # to a replica that knows of the change or does not
        with pytest.raises(StaleEtag):
            await change(store, known, scaled(3), etag="1")
    assert (await change(store, changed, scaled(3), etag="2")).spec.groups == (Group(size=3),)


async def test_of_changes_with_one_etag_at_once_one_is_made(store: Store, record: Recorder) -> None:
    cluster = await record(new_cluster())
    writes = [change(store, cluster, scaled(n), etag="1") for n in range(1, 9)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, Cluster) for result in results) == 1
    assert sum(isinstance(result, StaleEtag) for result in results) == 7


async def test_changes_at_the_same_time_are_all_made(store: Store, record: Recorder) -> None:
    cluster = await record(new_cluster(spec=ADAPTIVE))

    def one_more(seen: Cluster) -> Cluster:
        return targeted(seen.targets.get("default", 0) + 1)(seen)

    results = await asyncio.gather(*(change(store, cluster, one_more) for _ in range(20)))

    newest = await store.reads.get(cluster.id)
    assert newest.targets == {"default": 20}
    assert max(results, key=lambda result: result.revision) == newest
    assert await store.usage("users/ann") == demand_of(newest)


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.STOPPED, Phase.FAILED])
async def test_a_spec_of_the_past_does_not_change(store: Store, record: Recorder, fence: Fence, phase: Phase) -> None:
    seen = await record(new_cluster())
    saved = await store.records.save_status(seen, with_phase(seen, phase), fence=fence)
    for known in (seen, saved):
        with pytest.raises(ClusterEnded):
            await change(store, known, scaled(1))


async def test_a_cluster_that_is_asked_to_stop_does_not_change(store: Store, record: Recorder) -> None:
    seen = await record(new_cluster())
    changed = await change(store, seen, stopped)
    assert await change(store, changed, stopped) == changed
    for known in (seen, changed):
        with pytest.raises(ClusterEnded):
            await change(store, known, scaled(1))


async def test_a_status_is_saved_by_the_holder_of_the_lease_only(
    redis: Redis, keys: Keys, store: Store, record: Recorder, fence: Fence
) -> None:
    seen = await record(new_cluster())
    running = with_phase(seen, Phase.RUNNING)
    for stale in (Fence(0, 6), Fence(1, 7)):
        with pytest.raises(FencedOff):
            await store.records.save_status(seen, running, fence=stale)

    saved = await store.records.save_status(seen, running, fence=fence)
    assert saved == await store.reads.get(seen.id)

    await redis.hset(keys.lease(0), mapping={"holder": "replica-b", "fence": "8"})
    with pytest.raises(FencedOff):
        await store.records.save_status(saved, with_phase(saved, Phase.FAILED), fence=fence)
    await redis.delete(keys.lease(0))
    with pytest.raises(FencedOff):
        await store.records.save_status(saved, with_phase(saved, Phase.FAILED), fence=Fence(0, 8))
    assert (await store.reads.get(seen.id)).status.phase is Phase.RUNNING


@pytest.mark.parametrize("how", [scaled(1), targeted(2)])
async def test_a_status_decided_on_an_old_spec_or_status_is_refused(
    store: Store, record: Recorder, fence: Fence, how: Callable[[Cluster], Cluster]
) -> None:
    seen = await record(new_cluster(spec=ADAPTIVE))
    changed = await change(store, seen, how)
    with pytest.raises(StaleEtag):
        await store.records.save_status(seen, with_phase(seen, Phase.RUNNING), fence=fence)
    saved = await store.records.save_status(changed, with_phase(changed, Phase.RUNNING), fence=fence)
    with pytest.raises(StaleEtag):
        await store.records.save_status(changed, with_phase(changed, Phase.FAILED), fence=fence)
    ended = await store.records.save_status(saved, with_phase(saved, Phase.FAILED), fence=fence)
    with pytest.raises(StaleEtag):
        await store.records.save_status(ended, with_phase(ended, Phase.RUNNING), fence=fence)


async def test_a_report_does_not_make_a_status_stale_and_comes_back_with_it(
    store: Store, record: Recorder, fence: Fence
) -> None:
    seen = await record(new_cluster())
    await store.records.save_report(seen, connected_report(joined={WorkerId("default-1-a"): "tls://10.0.0.1:1"}))

    saved = await store.records.save_status(seen, with_phase(seen, Phase.RUNNING), fence=fence)

    assert saved == await store.reads.get(seen.id)
    assert saved.report.joined == {"default-1-a": "tls://10.0.0.1:1"}
    assert saved.report.route_version


async def test_an_older_report_never_overwrites_a_newer_one(store: Store, record: Recorder) -> None:
    seen = await record(new_cluster())
    nanoseconds = 1_790_000_000_000_000_001
    newest = Report(session=nanoseconds, sequence=10, clients=1)
    saved = await store.records.save_report(seen, newest)
    assert saved == await store.reads.get(seen.id)
    for older in (
        Report(session=nanoseconds - 1, sequence=11),
        Report(session=nanoseconds, sequence=9),
        Report(session=2, sequence=10),
    ):
        for known in (seen, saved):
            with pytest.raises(SessionReplaced):
                await store.records.save_report(known, older)
    gone = replace(newest, connected=False, changed=5.0)
    assert (await store.records.save_report(saved, gone)).report == gone  # by the holder of that session


async def test_a_report_of_a_replica_that_was_behind_leaves_nothing_of_the_one_before(
    store: Store, record: Recorder
) -> None:
    one, two = WorkerId("default-1-a"), WorkerId("default-2-b")
    seen = await record(new_cluster())
    before = Report(session=1, joined={one: "a", two: "b"}, departures={two: Departure(tasks_lost=3)})
    await store.records.save_report(seen, before)
    after = Report(session=2, joined={two: "c"}, retired=frozenset({one}))
    saved = await store.records.save_report(seen, after)
    assert saved.report == after
    assert saved == await store.reads.get(seen.id)


async def test_the_end_frees_what_was_promised(store: Store, record: Recorder, fence: Fence) -> None:
    cluster = await record(new_cluster())
    await record(new_cluster(owner=BOB))
    assert (await store.usage(DEPLOYMENT))["clusters"] == 2

    stopping = await store.records.save_status(cluster, with_phase(cluster, Phase.STOPPING), fence=fence)
    assert (await store.usage(DEPLOYMENT))["clusters"] == 2
    ended = await store.records.save_status(stopping, with_phase(stopping, Phase.STOPPED), fence=fence)

    assert (await store.usage("users/ann"), (await store.usage(DEPLOYMENT))["clusters"]) == (Demand(), 1)
    with pytest.raises(ClusterEnded):
        await store.records.save_report(ended, Report(session=9))


async def test_an_ended_cluster_is_removed_after_its_retention(store: Store, record: Recorder, fence: Fence) -> None:
    cluster = await record(running_cluster(running_worker()), request_id="r1")
    await store.records.remove(cluster.id)
    assert await store.reads.get(cluster.id) == cluster  # it lives

    await store.records.save_status(cluster, with_phase(cluster, Phase.FAILED), fence=fence)
    assert await store.reads.ended_before(1999.0, 10) == []
    assert await store.reads.ended_before(2000.0, 10) == [cluster.id]
    assert await store.reads.ended_before(2000.0, 0) == []
    await store.records.remove(cluster.id)

    assert await store.reads.ended_before(2000.0, 10) == []
    assert await store.reads.ids() == []
    assert (await record.again(new_cluster(), request_id="r1"))[1]
    with pytest.raises(ClusterNotFound):
        await store.reads.get(cluster.id)


async def test_a_cluster_found_running_is_adopted_once_without_its_alias_if_that_is_taken(
    store: Store, record: Recorder, fence: Fence
) -> None:
    taken = await record(new_cluster(alias="etl"))
    found = replace(running_cluster(running_worker(), name="c7", spec={"alias": "etl"}), generation=7, report=Report())

    adopted = await store.records.adopt(found, secrets=b"sealed", demand=demand_of(found), charged_to=["groups/lab"])
    assert adopted == await store.reads.get(found.id)
    assert adopted is not None
    assert adopted.generation == 7
    assert await store.records.adopt(found, secrets=b"sealed", demand=demand_of(found)) is None

    assert (await store.usage("users/ann"))["clusters"] == 2
    assert (await store.usage("groups/lab"))["clusters"] == 1
    ended = await store.records.save_status(adopted, with_phase(adopted, Phase.STOPPED), fence=fence)
    assert ended.revision > adopted.revision
    with pytest.raises(AliasTaken, match=taken.id):
        await record(new_cluster(alias="etl"))


async def test_a_stopping_cluster_that_is_adopted_holds_no_alias_and_does_not_change(
    store: Store, record: Recorder
) -> None:
    found = stopped(new_cluster(alias="etl"))
    adopted = await store.records.adopt(found, secrets=b"", demand=demand_of(found))
    assert adopted is not None
    assert (await record.again(new_cluster(alias="etl")))[1]
    with pytest.raises(ClusterEnded):
        await change(store, adopted, scaled(1))


async def test_revisions_never_come_again(redis: Redis, store: Store, record: Recorder) -> None:
    cluster = await record(new_cluster())
    for n in range(3):
        cluster = await store.records.save_report(cluster, Report(session=1, sequence=n))
    await empty(redis)
    adopted = await store.records.adopt(cluster, secrets=b"", demand=demand_of(cluster))
    assert adopted is not None
    assert adopted.revision > cluster.revision


async def test_a_record_that_cannot_be_read_is_set_aside(
    redis: Redis, keys: Keys, store: Store, record: Recorder
) -> None:
    good, bad, worse, worst = [await record(new_cluster(f"c{n}")) for n in range(4)]
    await redis.hset(keys.record(bad.id), "spec", b"\xc1")
    await redis.hset(keys.workers(worse.id), "worker/default-1-a", b"\xc1")
    await redis.hdel(keys.record(worst.id), "owner", "created")
    found = await store.reads.differing({cluster.id: None for cluster in (good, bad, worse, worst)})
    owners = {id_: read.owner for id_, read in found.items() if isinstance(read, Unreadable)}
    assert owners == {bad.id: ANN, worse.id: ANN, worst.id: ""}
    assert isinstance(found[good.id], StoredCluster)
    assert await store.reads.exists(bad.id)
    with pytest.raises(RecordUnreadable, match="ask your administrator"):
        await store.reads.get(bad.id)


async def test_a_write_to_a_record_that_cannot_be_read_fails(
    redis: Redis, keys: Keys, store: Store, record: Recorder
) -> None:
    """It would have to read again what another replica has written since."""
    cluster = await record(new_cluster("c1"))
    later = cluster.revision + 1
    written = {"status": b"\xc1", "revision": later, "spec_revision": later, "report_revision": later}
    await redis.hset(keys.record(cluster.id), mapping=written)  # pyright: ignore[reportArgumentType] as redis-py takes
    with pytest.raises(RecordUnreadable):
        await store.records.save_report(cluster, Report(session=1))
    with pytest.raises(RecordUnreadable):
        await store.records.change(
            cluster,
            lambda seen: replace(seen, spec=replace(seen.spec, stop=True)),
            demand=demand_of,
            limits={},
        )


async def test_values_that_a_newer_release_has_added_are_kept(
    redis: Redis, keys: Keys, store: Store, record: Recorder, fence: Fence
) -> None:
    cluster = await record(new_cluster("c1"))
    status = {
        "phase": "RUNNING",
        "reason": "MOVED",
        "conditions": [{"type": "Glowing", "status": "MAYBE"}],
        "a_new_field": 1,
    }
    await overwrite(redis, keys, cluster.id, status=pack(status))
    await redis.xadd(keys.events(cluster.id), {"event": pack({"type": "Moved", "message": "m", "severity": "LOUD"})})
    read = await store.reads.get(cluster.id)
    assert (read.status.reason, read.status.conditions[0].type) == ("MOVED", "Glowing")
    saved = await store.records.save_status(read, replace(read, status=replace(read.status, message="x")), fence=fence)
    assert await store.reads.get(cluster.id) == saved
    shown = convert.cluster(saved)
    assert shown.status.reason == cluster_pb2.END_REASON_UNSPECIFIED
    assert shown.status.conditions[0].type == cluster_pb2.CONDITION_TYPE_UNSPECIFIED
    moved = (await store.events.list(cluster.id))[-1]
    assert (moved.type, convert.event(cluster.id, moved).type) == ("Moved", cluster_pb2.EVENT_TYPE_UNSPECIFIED)


async def test_every_method_fails_while_the_store_is_away(tmp_path: Path, keys: Keys, fence: Fence) -> None:
    cluster = new_cluster(NOBODY)
    async with connect(f"unix://{tmp_path}/none?db=0") as nowhere:
        away = Store(nowhere, keys)
        for question in (
            away.reads.get(NOBODY),
            away.reads.ids(),
            away.reads.version(),
            away.changes.read("0-0"),
            away.routes.all(),
            away.routes.readers(),
            away.replicas.live_for(["a"]),
            away.usage(DEPLOYMENT),
            away.records.save_report(cluster, Report()),
            away.records.save_status(cluster, cluster, fence=fence),
            away.records.adopt(cluster, secrets=b"", demand=Demand()),
        ):
            with pytest.raises(StoreUnavailable):
                await question
