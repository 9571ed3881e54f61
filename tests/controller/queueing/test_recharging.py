"""Living clusters are charged by another policy as soon as it is in force."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.controller.queueing.waiting import Replica, policy

from headrace_controller.model import Cluster, Demand
from headrace_controller.policy.file import PolicyFile
from headrace_controller.store import DEPLOYMENT

pytestmark = pytest.mark.usefixtures("fence", "store")


def counting(licences: float | None, **limits: Any) -> PolicyFile:
    """A policy whose workers count as licences."""
    counts = {} if licences is None else {"licences": licences}
    named = {} if licences is None else {"deployment": {"resources": {"licences": 10}}}
    found = policy(**{**named, **limits}).model_dump()
    return PolicyFile.model_validate({**found, "profiles": {"default": {"counts": counts}}})


async def used(replica: Replica, subject: str = DEPLOYMENT) -> Demand:
    return await replica.store.usage(subject)


async def test_a_resource_that_is_named_only_now_counts_at_once(redis: Redis) -> None:
    replica = Replica(redis, counting(None, user={"clusters": 1}))
    cluster = await replica.create("ann", 2)
    waiting = await replica.create("ann", 3)
    before = await used(replica)
    replica.follow(counting(1.5, user={"clusters": 1}))
    await replica.recharging.apply()
    assert await used(replica) == before + Demand({"r/licences": 3000})
    assert await used(replica, "users/ann") == await used(replica)
    assert await replica.waits(waiting) == [True]
    seen = replica.mirror.get(cluster.id)
    assert seen == await replica.store.reads.get(cluster.id)
    await replica.recharging.apply()
    assert replica.mirror.get(cluster.id) is seen  # nothing was written
    assert await replica.waits(await replica.create("bob", 5)) == [True]

    replica.follow(counting(None, user={"clusters": 1}))
    await replica.recharging.apply()
    assert await used(replica) == before
    await replica.end(cluster)
    await replica.recharging.apply()
    assert await used(replica) == Demand()


async def scripts(redis: Redis) -> int:
    """How many scripts Redis has run."""
    return (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]


async def test_what_was_not_written_meanwhile_is_not_looked_at_again(redis: Redis) -> None:
    replica = Replica(redis, counting(1))
    clusters = [await replica.create(name, 1) for name in ("ann", "bob", "eve")]
    stale = Replica(redis, counting(None))
    await stale.load()
    await replica.recharging.apply()
    before = await scripts(redis)
    await replica.recharging.apply()
    assert await scripts(redis) == before

    await stale.scale(clusters[0], 2)  # by the policy before
    await replica.load()
    before = await scripts(redis)
    await replica.recharging.apply()
    assert await scripts(redis) == before + 1
    assert (await used(replica))["r/licences"] == 4000

    replica.follow(counting(2))
    await replica.recharging.apply()
    assert (await used(replica))["r/licences"] == 8000


async def test_what_others_write_meanwhile_is_charged_once(redis: Redis) -> None:
    replica = Replica(redis, counting(None))
    clusters = [await replica.create(name, 1) for name in ("ann", "bob", "eve")]
    stale = Replica(redis, counting(2))
    await stale.load()

    async def change(cluster: Cluster) -> None:
        await replica.scale(cluster, 2)
        await replica.scale(cluster, 3)

    await asyncio.gather(stale.recharging.apply(), *map(change, clusters[:2]), replica.end(clusters[2]))
    await stale.load()
    await stale.recharging.apply()
    assert (await used(stale))["r/licences"] == 12_000
    assert (await used(stale))["workers"] == 6
