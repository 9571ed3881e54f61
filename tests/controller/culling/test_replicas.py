"""What was observed of a cluster before another replica has it counts on; time without any controller does not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import msgpack
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.culling.measured_site import MeasuredSite, cullings, due, measured_site
from tests.controller.running import Site

from headrace_chassis.identity.caller import ADMIN, USER
from headrace_controller.culling.observed import Marks, of_another

HOUR = 3600


@pytest.fixture
async def measured(site: Site, directory: Path) -> AsyncIterator[MeasuredSite]:
    policy = directory / "policy.yaml"
    policy.write_text("culling: {idle: {after: 1 h}}")
    async with measured_site(site, policy) as made:
        yield made


async def kept(redis: Redis) -> list[Marks]:
    """What the replicas have kept in the store, of each cluster."""
    shards: list[Any] = [await redis.get(key) async for key in redis.scan_iter(match="*observed:*")]
    return [marks for shard in shards for marks in msgpack.decode(shard, type=dict[str, Marks]).values()]


async def observed(redis: Redis, clusters: int) -> bool:
    """Whether this number of clusters is known to have been observed for a while; a slow machine makes pauses."""
    known = [(of_another(marks), marks[0]) for marks in await kept(redis)]
    return [until - one.counting_from(one.since) > 1 for one, until in known] == [True] * clusters


async def test_idleness_counts_on_when_its_replica_has_ended_but_not_time_without_a_controller(
    measured: MeasuredSite, redis: Redis, eventually: Eventually
) -> None:
    first = await measured.replica("a")
    ann = await first.user("ann")
    await ann.until((await ann.create()).name, "RUNNING")
    before = await due(await first.user("root", USER, ADMIN), eventually)

    await eventually(lambda: observed(redis, 1))
    await measured.site.stop(first)
    ended = time.time()
    second = await measured.replica("b", signals={"stale_seconds": 60})  # a slow machine makes no more pauses
    measured.site.connect_proxy(second)

    async def pauses() -> list[tuple[float, float]]:
        """That of which the end was in; a slow machine makes others."""
        return [(began, over) for *_, made, _ in await kept(redis) for began, over in made if began <= ended < over]

    await eventually(pauses)
    [(began, over)] = await pauses()
    after = await due(await second.user("root", USER, ADMIN), eventually)  # before, it tells what the first has kept
    assert after < over + HOUR - 1  # what was observed before counts
    assert after - before > over - began - 0.01  # time without a controller does not


async def test_idleness_counts_on_when_another_replica_takes_the_cluster_over(
    measured: MeasuredSite, redis: Redis, eventually: Eventually
) -> None:
    first, second = await measured.replica("a"), await measured.replica("b")
    ann = await second.user("ann")
    for _ in range(4):  # of each of the four shards, most likely
        await ann.until((await ann.create()).name, "RUNNING")

    admin = await second.user("root", USER, ADMIN)

    async def all_known() -> bool:
        found = await cullings(admin)
        return len(found) == 4 and all(one.HasField("act_time") for one in found)

    await eventually(lambda: observed(redis, 4))
    await eventually(all_known)  # those of the first replica by what it has kept
    await measured.site.stop(first)
    await eventually(all_known)
    for one in await cullings(admin):
        left = one.act_time.ToNanoseconds() - one.sample_time.ToNanoseconds()
        assert left / 1e9 < HOUR - 1
