"""WatchClusters: state, checkpoint, changes; going on from a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from tests.controller.services.errors_of import fails, wrong_fields
from tests.controller.services.running import Site, User

from headrace.errors import Draining, PermissionDenied, ResumeTokenTooOld
from headrace.v1 import cluster_service_pb2 as pb


@asynccontextmanager
async def watch(user: User, **request: Any) -> AsyncGenerator[Any]:
    call = user.stream("WatchClusters", pb.WatchClustersRequest(**request))
    try:
        async with asyncio.timeout(20):
            yield call
    finally:
        call.cancel()


async def until_checkpoint(call: Any) -> list[pb.WatchClustersResponse]:
    steps: list[pb.WatchClustersResponse] = []
    while not steps or not steps[-1].HasField("checkpoint"):
        steps.append(await call.read())
    return steps


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
            assert step.HasField("cluster")
            step = await call.read()
        assert step.resume_token > token


async def test_events_come_along_when_asked_for(ann: User) -> None:
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    async with watch(ann, name=made.name, include_events=True) as call:
        steps = await until_checkpoint(call)
        assert next(step.event.type for step in steps if step.HasField("event")) == "Created"
        await ann.stop(made.name)
        seen: list[str] = []
        while "Stopped" not in seen:
            seen.append((await call.read()).event.type)


async def test_a_quiet_watch_sends_checkpoints(site: Site) -> None:
    replica = await site.replica(checkpoint_seconds=0.1)
    ann = await replica.user("ann")
    async with watch(ann) as call:
        for _ in range(3):
            assert (await call.read()).HasField("checkpoint")


async def test_a_removed_cluster_is_told(site: Site) -> None:
    replica = await site.replica(retention_seconds=0, full_pass_seconds=0.1)
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


async def test_everybodys_is_for_admins(ann: User, bob: User, admin: User) -> None:
    await ann.create()
    await bob.create()
    async with watch(bob, owner="users/-") as call:
        await fails(PermissionDenied, call.read())
    async with watch(admin, owner="users/-") as call:
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


async def test_a_drain_ends_watches_so_that_they_go_on_elsewhere(site: Site, ann: User) -> None:
    async with watch(ann) as call:
        await until_checkpoint(call)
        reading = asyncio.create_task(fails(Draining, call.read()))
        replica = site.replicas[0]
        await replica.drain()
        await reading
