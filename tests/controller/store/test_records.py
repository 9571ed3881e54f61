"""Records: made once, found again, changed by compare-and-set, ended and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from headrace.errors import AliasTaken, ClusterEnded, ClusterNotFound, FencedOff, StaleEtag, StoreUnavailable
from headrace_chassis.redis.connection import connect
from headrace_controller.keys import Keys
from headrace_controller.model import (
    Cluster,
    ClusterId,
    Demand,
    EndReason,
    Event,
    Group,
    Phase,
    Report,
    Spec,
    Status,
    UserId,
    WorkerId,
    WorkerRecord,
)
from headrace_controller.store import Fence, Store

Record = Callable[..., Awaitable[tuple[Cluster, bool]]]
NewCluster = Callable[..., Cluster]
ANN, BOB = UserId("ann"), UserId("bob:request")
NOBODY = ClusterId("c-nobody")
NONE = Demand()


def of_size(spec: Spec) -> Demand:
    workers = sum(group.wanted for group in spec.groups)
    return Demand(clusters=1, workers=workers, cores_milli=1000 * (1 + workers), memory_bytes=2**30 * (1 + workers))


def scaled(size: int) -> Callable[[Spec], Spec]:
    return lambda spec: replace(spec, groups=(Group(size=size),))


def with_phase(cluster: Cluster, phase: Phase) -> Cluster:
    return replace(cluster, status=Status(phase=phase, ended=2000.0 if phase.ended else None))


async def test_a_record_is_read_as_it_was_written(store: Store, record: Record, new_cluster: NewCluster) -> None:
    worker = WorkerRecord(id=WorkerId("default-1-abcdef"), group="default", created=1.5)
    cluster = replace(
        new_cluster(spec=Spec(alias="etl", options={"a": 1, "b": [], "c": {"d": "e"}, "f": True, "g": 1.5, "h": "i"})),
        status=Status(workers={worker.id: worker}),
        report=Report(joined={worker.id: "tls://127.0.0.1:1"}, retired=frozenset({worker.id}), idle_since=3.0),
    )

    made, new = await record(cluster)

    assert new
    assert made == await store.get(cluster.id)
    assert made == replace(cluster, revision=1)
    assert await store.secrets(cluster.id) == b"sealed"
    assert await store.revision(cluster.id) == (1, ANN)


async def test_what_is_not_there_is_not_found(store: Store, fence: Fence, new_cluster: NewCluster) -> None:
    for question in (
        store.get(NOBODY),
        store.secrets(NOBODY),
        store.revision(NOBODY),
        store.save_report(NOBODY, Report()),
        store.save_status(new_cluster(), fence=fence),
        store.add_event(NOBODY, ANN, Event(type="A", message="b")),
        store.change_spec(NOBODY, scaled(1), demand=of_size, limits={}),
    ):
        with pytest.raises(ClusterNotFound):
            await question
    assert await store.get_many([NOBODY]) == []
    assert await store.by_alias(ANN, "etl") is None
    assert await store.events(NOBODY) == []
    await store.remove(NOBODY)


async def test_the_same_request_makes_one_cluster(store: Store, record: Record, new_cluster: NewCluster) -> None:
    first, _ = await record(new_cluster(), request_id="r1")
    second, new = await record(new_cluster(), request_id="r1")
    others, _ = await record(new_cluster(owner=BOB), request_id="r1")

    assert not new
    assert second == first
    assert others.id != first.id
    assert (await store.usage(ANN)).clusters == 1


async def test_a_repeated_call_whose_answer_was_lost_has_made_its_cluster(
    record: Record, new_cluster: NewCluster
) -> None:
    cluster = new_cluster()
    assert (await record(cluster))[1]
    assert (await record(cluster))[1]


async def test_an_alias_is_one_cluster_at_a_time(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    first, _ = await record(new_cluster(alias="etl"))
    again, new = await record(new_cluster(alias="etl"), request_id="r1")
    assert (again, new) == (first, False)
    assert (await record(new_cluster(owner=BOB, alias="etl")))[1]
    with pytest.raises(AliasTaken, match=f"clusters/{first.id}"):
        await record(new_cluster(alias="etl"), must_create=True)

    await store.save_status(with_phase(first, Phase.FAILED), fence=fence)

    assert await store.by_alias(ANN, "etl") is None
    repeated, new = await record(new_cluster(alias="etl"), request_id="r1")
    assert (repeated.id, new) == (first.id, False)  # a repeated request never makes a second cluster
    second, new = await record(new_cluster(alias="etl"), must_create=True)
    assert new
    assert await store.by_alias(ANN, "etl") == second.id


async def test_a_cluster_that_is_to_end_gives_its_alias_away(
    store: Store, record: Record, new_cluster: NewCluster
) -> None:
    first, _ = await record(new_cluster(alias="etl"))
    await store.change_spec(first.id, lambda spec: replace(spec, stop=EndReason.USER), demand=of_size, limits={})

    _, new = await record(new_cluster(alias="etl"))

    assert new


async def test_a_spec_is_changed_and_returned_with_what_others_wrote(
    store: Store, record: Record, new_cluster: NewCluster
) -> None:
    cluster, _ = await record(new_cluster())
    await store.save_report(cluster.id, Report(session=1, sequence=1, clients=3))

    changed = await store.change_spec(
        cluster.id, scaled(4), demand=of_size, limits={}, event=Event(type="Scaled", message="to 4")
    )

    assert changed == await store.get(cluster.id)
    assert (changed.generation, changed.revision) == (2, 3)
    assert changed.spec.groups == (Group(size=4),)
    assert changed.report.clients == 3
    assert [event.type for event in await store.events(cluster.id)] == ["Created", "Scaled"]
    assert await store.usage(ANN) == of_size(changed.spec)


async def test_a_change_without_a_difference_writes_nothing(
    store: Store, record: Record, new_cluster: NewCluster
) -> None:
    cluster, _ = await record(new_cluster())
    assert await store.change_spec(cluster.id, scaled(0), demand=of_size, limits={}) == cluster


async def test_a_stale_etag_is_refused(store: Store, record: Record, new_cluster: NewCluster) -> None:
    cluster, _ = await record(new_cluster())
    await store.change_spec(cluster.id, scaled(2), etag="1", demand=of_size, limits={})
    with pytest.raises(StaleEtag):
        await store.change_spec(cluster.id, scaled(3), etag="1", demand=of_size, limits={})
    assert (await store.get(cluster.id)).spec.groups == (Group(size=2),)


async def test_an_etag_that_gets_stale_within_the_change_is_refused(
    redis: Redis, keys: Keys, store: Store, record: Record, new_cluster: NewCluster
) -> None:
    cluster, _ = await record(new_cluster())
    writes = [store.change_spec(cluster.id, scaled(n), etag="1", demand=of_size, limits={}) for n in range(1, 9)]
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(isinstance(result, Cluster) for result in results) == 1
    assert sum(isinstance(result, StaleEtag) for result in results) == 7


async def test_changes_at_the_same_time_are_all_made(store: Store, record: Record, new_cluster: NewCluster) -> None:
    cluster, _ = await record(new_cluster())

    def one_more(spec: Spec) -> Spec:
        return scaled(spec.groups[0].size + 1)(spec)

    await asyncio.gather(*(store.change_spec(cluster.id, one_more, demand=of_size, limits={}) for _ in range(20)))

    assert (await store.get(cluster.id)).spec.groups == (Group(size=20),)
    assert await store.usage(ANN) == of_size(scaled(20)(cluster.spec))


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.STOPPED, Phase.FAILED])
async def test_a_spec_of_the_past_does_not_change(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence, phase: Phase
) -> None:
    cluster, _ = await record(new_cluster())
    await store.save_status(with_phase(cluster, phase), fence=fence)
    with pytest.raises(ClusterEnded):
        await store.change_spec(cluster.id, scaled(1), demand=of_size, limits={})


async def test_a_spec_that_says_stop_does_not_change(store: Store, record: Record, new_cluster: NewCluster) -> None:
    cluster, _ = await record(new_cluster())

    def stop(spec: Spec) -> Spec:
        return replace(spec, stop=EndReason.USER)

    stopped = await store.change_spec(cluster.id, stop, demand=of_size, limits={})
    assert await store.change_spec(cluster.id, stop, demand=of_size, limits={}) == stopped
    with pytest.raises(ClusterEnded):
        await store.change_spec(cluster.id, scaled(1), demand=of_size, limits={})


async def test_a_status_is_saved_by_the_holder_of_the_lease_only(
    redis: Redis, keys: Keys, store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    cluster, _ = await record(new_cluster())
    running = with_phase(cluster, Phase.RUNNING)
    for stale in (Fence(0, 6), Fence(1, 7)):
        with pytest.raises(FencedOff):
            await store.save_status(running, fence=stale)

    saved = await store.save_status(running, fence=fence)
    assert saved == await store.get(cluster.id)

    await redis.hset(keys.lease(0), mapping={"holder": "replica-b", "fence": "8"})
    with pytest.raises(FencedOff):
        await store.save_status(with_phase(saved, Phase.FAILED), fence=fence)
    await redis.delete(keys.lease(0))
    with pytest.raises(FencedOff):
        await store.save_status(with_phase(saved, Phase.FAILED), fence=Fence(0, 8))
    assert (await store.get(cluster.id)).status.phase is Phase.RUNNING


async def test_a_status_decided_on_an_old_spec_or_status_is_refused(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    cluster, _ = await record(new_cluster())
    changed = await store.change_spec(cluster.id, scaled(1), demand=of_size, limits={})
    with pytest.raises(StaleEtag):
        await store.save_status(with_phase(cluster, Phase.RUNNING), fence=fence)
    saved = await store.save_status(with_phase(changed, Phase.RUNNING), fence=fence)
    with pytest.raises(StaleEtag):
        await store.save_status(with_phase(changed, Phase.FAILED), fence=fence)
    ended = await store.save_status(with_phase(saved, Phase.FAILED), fence=fence)
    with pytest.raises(StaleEtag):
        await store.save_status(with_phase(ended, Phase.RUNNING), fence=fence)


async def test_a_report_does_not_make_a_status_stale_and_comes_back_with_it(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    cluster, _ = await record(new_cluster())
    await store.save_report(cluster.id, Report(session=1, sequence=1, scheduler_address="tls://127.0.0.1:1"))

    saved = await store.save_status(with_phase(cluster, Phase.RUNNING), fence=fence)

    assert saved == await store.get(cluster.id)
    assert saved.report.scheduler_address == "tls://127.0.0.1:1"
    assert saved.report.route_version


async def test_an_older_report_never_overwrites_a_newer_one(
    store: Store, record: Record, new_cluster: NewCluster
) -> None:
    cluster, _ = await record(new_cluster())
    nanoseconds = 1_790_000_000_000_000_001
    newest = Report(session=nanoseconds, sequence=10, clients=1)
    assert await store.save_report(cluster.id, newest) == await store.get(cluster.id)
    for older in (
        Report(session=nanoseconds - 1, sequence=11),
        Report(session=nanoseconds, sequence=9),
        Report(session=2, sequence=10),
    ):
        with pytest.raises(FencedOff):
            await store.save_report(cluster.id, older)
    gone = replace(newest, connected=False, changed=5.0)
    assert (await store.save_report(cluster.id, gone)).report == gone  # by whoever held that session


async def test_the_end_frees_what_was_promised(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    cluster, _ = await record(new_cluster())
    other, _ = await record(new_cluster(owner=BOB))
    assert (await store.usage()).clusters == 2

    await store.save_status(with_phase(cluster, Phase.STOPPING), fence=fence)
    assert (await store.usage()).clusters == 2
    stopping = await store.get(cluster.id)
    await store.save_status(with_phase(stopping, Phase.STOPPED), fence=fence)

    assert (await store.usage(ANN), (await store.usage()).clusters) == (NONE, 1)
    assert await store.ids(living=True) == [other.id]
    assert await store.ids(living=False) == [cluster.id]
    with pytest.raises(ClusterEnded):
        await store.save_report(cluster.id, Report(session=9))


async def test_an_ended_cluster_is_removed_after_its_retention(
    redis: Redis, store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    cluster, _ = await record(new_cluster(), request_id="r1")
    await store.remove(cluster.id)
    assert await store.get(cluster.id) == cluster  # it lives

    await store.save_status(with_phase(cluster, Phase.FAILED), fence=fence)
    assert await store.ended_before(1999.0) == []
    assert await store.ended_before(2000.0) == [cluster.id]
    await store.remove(cluster.id)

    assert await store.ended_before(2000.0) == []
    assert await store.ids() == []
    assert (await record(new_cluster(), request_id="r1"))[1]
    with pytest.raises(ClusterNotFound):
        await store.get(cluster.id)


async def test_a_cluster_found_running_is_adopted_once(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    taken, _ = await record(new_cluster(alias="etl"))
    found = replace(new_cluster(alias="etl"), generation=7, revision=31)

    assert await store.adopt(found, b"sealed", demand=of_size(found.spec))
    assert not await store.adopt(found, b"sealed", demand=of_size(found.spec))

    adopted = await store.get(found.id)
    assert adopted.generation == 7
    assert adopted.revision > 31  # revisions never come again
    assert await store.by_alias(ANN, "etl") == taken.id
    assert (await store.usage(ANN)).clusters == 2
    await store.save_status(with_phase(adopted, Phase.STOPPED), fence=fence)
    assert await store.by_alias(ANN, "etl") == taken.id


async def test_ids_come_newest_first_and_in_pages(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    made = [(await record(new_cluster(owner=[ANN, BOB][n % 2])))[0] for n in range(10)]
    for cluster in made[::3]:
        await store.save_status(with_phase(cluster, Phase.FAILED), fence=fence)
    newest_first = [cluster.id for cluster in reversed(made)]
    ended = {cluster.id for cluster in made[::3]}

    assert await store.ids() == newest_first
    assert await store.ids(living=True) == [i for i in newest_first if i not in ended]
    assert await store.ids(living=False) == [i for i in newest_first if i in ended]
    assert await store.ids(ANN) == newest_first[1::2]
    assert [cluster.id for cluster in await store.get_many(newest_first)] == newest_first

    page = await store.page(count=4)
    pages = [page]
    while page.next is not None:
        page = await store.page(count=4, before=page.next)
        pages.append(page)
    assert [len(page.ids) for page in pages] == [4, 4, 2]
    assert [i for page in pages for i in page.ids] == newest_first
    assert (await store.page(count=10)).next is None


async def test_the_version_grows_with_each_write_of_the_owners_records(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    assert await store.version(ANN) == 0
    cluster, _ = await record(new_cluster())
    versions = [await store.version(ANN)]
    await record(new_cluster(owner=BOB))
    assert await store.version(ANN) == versions[-1] < await store.version()
    await store.change_spec(cluster.id, scaled(1), demand=of_size, limits={})
    versions.append(await store.version(ANN))
    await store.save_report(cluster.id, Report(session=1))
    versions.append(await store.version(ANN))
    latest = await store.get(cluster.id)
    await store.save_status(with_phase(latest, Phase.FAILED), fence=fence)
    versions.append(await store.version(ANN))
    await store.remove(cluster.id)
    versions.append(await store.version(ANN))
    assert versions == sorted(set(versions))


async def test_every_method_says_when_the_store_is_away(
    tmp_path: Path, keys: Keys, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    async with connect(f"unix://{tmp_path}/none?db=0") as nowhere:
        away = Store(nowhere, keys)
        for question in (
            away.get(NOBODY),
            away.get_many([NOBODY]),
            away.ids(),
            away.changes("0-0"),
            away.routes(),
            away.acknowledged(),
            away.save_report(NOBODY, Report()),
            away.save_status(new_cluster(), fence=fence),
            away.adopt(new_cluster(), b"", demand=NONE),
        ):
            with pytest.raises(StoreUnavailable):
                await question


async def test_a_record_that_was_read_or_written_is_known_by_its_revision(
    store: Store, record: Record, new_cluster: NewCluster, fence: Fence
) -> None:
    made, _ = await record(new_cluster())
    assert store.known(made.id, 1) == made
    assert store.known(made.id, 2) is None
    reported = await store.save_report(made.id, Report(session=1))
    saved = await store.save_status(replace(made, status=Status(phase=Phase.STOPPING)), fence=fence)
    assert saved.report == reported.report
    assert store.known(made.id, 1) == store.known(made.id, 3) == saved == await store.get(made.id)
    store.doubt(made.id)
    assert store.known(made.id, 1) is None
