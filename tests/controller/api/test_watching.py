"""WatchClusters: state, checkpoint, changes; going on from a token."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis
from tests.controller.errors_of import fails, wrong_fields
from tests.controller.running import Site
from tests.controller.user import User
from tests.controller.watches import until_checkpoint, watch

from headrace.errors import ClusterNotFound, Draining, PermissionDenied, ResumeTokenTooOld
from headrace.v1 import cluster_pb2, right_pb2
from headrace.v1 import cluster_service_pb2 as pb


async def test_the_state_then_a_checkpoint_then_changes(ann: User, bob: User) -> None:
    mine = {(await ann.create()).name for _ in range(3)}
    await bob.create()
    async with watch(ann) as call:
        steps = await until_checkpoint(call)
        assert {step.cluster.name for step in steps[:-1]} == mine
        assert steps[-1].resume_token
        await bob.create()
        new = await ann.create()
        step = await call.read()
        while step.cluster.name in mine:
            step = await call.read()
        assert step.cluster.name == new.name


async def test_a_watch_goes_on_where_another_one_ended(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    async with watch(ann) as call:
        token = (await until_checkpoint(call))[-1].resume_token
    await ann.scale(made.name, 2)
    await ann.until(made.name, "RUNNING", running=2)
    async with watch(ann, resume_token=token) as call:
        step = await call.read()
        while step.cluster.status.worker_groups[0].running < 2:
            step = await call.read()
            assert step.HasField("cluster")
        assert step.resume_token > token


async def test_events_come_along_when_asked_for(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    async with watch(ann, name=made.name, include_events=True) as call:
        steps = await until_checkpoint(call)
        assert next(step.event.type for step in steps if step.HasField("event")) == cluster_pb2.EVENT_TYPE_CREATED
        await ann.stop(made.name)
        seen: list[int] = []
        while cluster_pb2.EVENT_TYPE_STOPPED not in seen:
            seen.append((await call.read()).event.type)


async def test_events_of_many_clusters_come_along_each_behind_its_own(ann: User) -> None:
    made = {(await ann.create()).name for _ in range(5)}
    async with watch(ann, include_events=True) as call:
        steps = await until_checkpoint(call)
        before = ""
        for step in steps[:-1]:
            if step.HasField("cluster"):
                before = step.cluster.name
            else:
                assert step.event.name.startswith(f"{before}/events/")
        assert {step.cluster.name for step in steps if step.HasField("cluster")} == made
        assert [step.event.type for step in steps].count(cluster_pb2.EVENT_TYPE_CREATED) == 5


async def test_of_what_matches_the_end_is_sent_too_and_nothing_of_others(ann: User) -> None:
    async with watch(ann, filter=pb.ClusterFilter(tags={"team": "a"}), include_events=True) as call:
        await until_checkpoint(call)
        await ann.create(tags={"team": "b"})
        made = await ann.create(tags={"team": "a"})
        await ann.until(made.name, "RUNNING")
        await ann.stop(made.name)
        ended, explained = False, False
        while not (ended and explained):
            step = await call.read()
            if step.HasField("event"):
                assert step.event.name.startswith(made.name)
                explained = explained or step.event.type == cluster_pb2.EVENT_TYPE_STOPPED
            elif step.HasField("cluster"):
                assert step.cluster.name == made.name
                ended = step.cluster.status.phase == cluster_pb2.PHASE_STOPPED
        # It no longer matches: what happens to it now is not sent.
        await ann.delete(made.name)
        another = await ann.create(tags={"team": "a"})
        step = await call.read()
        while not step.HasField("cluster"):
            assert not step.removed
            step = await call.read()
        assert step.cluster.name == another.name


async def test_a_watch_of_one_sees_it_in_whatever_phase_and_view(ann: User) -> None:
    made = await ann.create()
    await ann.stop(made.name)
    await ann.until(made.name, "STOPPED")
    for view in (pb.CLUSTER_VIEW_BASIC, pb.CLUSTER_VIEW_FULL):
        async with watch(ann, name=made.name, view=view) as call:
            [step, _] = await until_checkpoint(call)
            assert step.cluster.status.phase == cluster_pb2.PHASE_STOPPED
            assert bool(step.cluster.spec.options) is (view == pb.CLUSTER_VIEW_FULL)


async def test_a_watch_ends_with_the_share_that_allowed_it(ann: User, bob: User) -> None:
    share = cluster_pb2.Share(member="users/bob", rights=[right_pb2.RIGHT_CLUSTER_VIEW])
    made = await ann.create(request={"shares": [share]})
    async with watch(bob, name=made.name) as call:
        await until_checkpoint(call)
        ended = asyncio.create_task(fails(ClusterNotFound, drained(call)))
        await ann.update(made.name, "shares")
        await ended


async def drained(call: Any) -> None:
    while True:
        await call.read()


async def test_a_quiet_watch_sends_checkpoints(site: Site) -> None:
    replica = await site.replica(checkpoint_seconds=0.1)
    ann = await replica.user("ann")
    async with watch(ann) as call:
        for _ in range(3):
            assert (await call.read()).HasField("checkpoint")


async def test_a_removed_cluster_is_told(site: Site) -> None:
    replica = await site.replica(retention_seconds=0, resync_seconds=0.1)
    ann = await replica.user("ann")
    made = await ann.create()
    async with watch(ann, name=made.name) as call:
        await until_checkpoint(call)
        await ann.stop(made.name)
        step = await call.read()
        while not step.removed:
            step = await call.read()
        assert step.removed == made.name


async def test_tokens_that_are_none_or_too_old(site: Site, ann: User, redis: Redis) -> None:
    made = await ann.create()
    async with watch(ann, resume_token="rubbish") as call:
        assert await wrong_fields(call.read()) == {"resume_token"}
    await ann.until(made.name, "RUNNING")
    await redis.xtrim("{test}:changes", maxlen=1, approximate=False)
    another = await (await site.replica("b")).user("ann")  # which has not heard of what was trimmed
    async with watch(another, resume_token="1-1") as call:
        await fails(ResumeTokenTooOld, call.read())


async def test_tokens_that_were_made_up_are_refused(ann: User) -> None:
    await ann.create()
    async with watch(ann) as call:
        milliseconds, _, _ = (await until_checkpoint(call))[-1].resume_token.partition("-")
    for future in (f"{int(milliseconds) + 3_600_000}-0", "9" * 19 + "-0"):
        async with watch(ann, resume_token=future) as call:
            error = await fails(ResumeTokenTooOld, call.read())
            assert str(error) == f"the history does not reach {future}; watch again without a resume token"
    random = Random(7)
    for _ in range(100):
        token = "".join(random.choices("0123456789-é+ ", k=random.randint(1, 40)))
        async with watch(ann, resume_token=token) as call:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
        assert caught.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE}, token


async def test_everybodys_is_for_admins(ann: User, bob: User, admin: User) -> None:
    await ann.create()
    await bob.create()
    async with watch(bob, filter=pb.ClusterFilter(owner="users/-")) as call:
        await fails(PermissionDenied, call.read())
    async with watch(admin, filter=pb.ClusterFilter(owner="users/-")) as call:
        steps = await until_checkpoint(call)
        assert {step.cluster.owner for step in steps[:-1]} == {"users/ann", "users/bob"}


async def test_a_slow_reader_holds_nobody_up_and_misses_nothing(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    async with watch(ann) as slow:
        await until_checkpoint(slow)
        for size in range(200):
            await ann.scale(made.name, size % 3)
        last = await ann.scale(made.name, 5)
        await ann.until(made.name, "RUNNING", running=5)
        generation = 0
        while generation < last.generation:
            generation = (await slow.read()).cluster.generation


async def test_a_drain_ends_watches_so_that_they_go_on_elsewhere(site: Site) -> None:
    replica = await site.replica(drain_seconds=10)  # without any time, what is served is cut off
    ann = await replica.user("ann")
    async with watch(ann) as call:
        await until_checkpoint(call)
        reading = asyncio.create_task(fails(Draining, call.read()))
        await replica.drain()
        await reading
