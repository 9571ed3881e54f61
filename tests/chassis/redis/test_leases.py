"""Leases over replicas, in a real Valkey."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError
from tests.chassis.redis.faulty import REDIS_ERRORS, FaultyRedis, error_name
from tests.conftest import Eventually

from headrace.errors import StoreUnavailable
from headrace_chassis.redis import keys
from headrace_chassis.redis import leases as leases_module
from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.redis.leases import SHARDS, ShardLeases, shard_of

PREFIX = Prefix("test")
TTL = timedelta(seconds=0.6)
LONG = timedelta(minutes=1)


def replica(redis: Redis, name: str, ttl: timedelta = TTL, clock: Callable[[], float] = time.monotonic) -> ShardLeases:
    return ShardLeases(redis, PREFIX, name, ttl=ttl, clock=clock)


@asynccontextmanager
async def running(leases: ShardLeases, *, killed: bool = False) -> AsyncGenerator[ShardLeases]:
    """Runs a replica; `killed` ends it without giving up anything, as kill -9 does."""
    task = asyncio.create_task(leases.run())
    try:
        yield leases
    finally:
        if killed:
            leases.release = nothing
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def nothing() -> None:
    pass


def all_shards(*replicas: ShardLeases) -> list[int]:
    return sorted(shard for leases in replicas for shard in leases.held)


def is_fair(*replicas: ShardLeases) -> bool:
    sizes = [len(leases.held) for leases in replicas]
    return all_shards(*replicas) == list(range(SHARDS)) and max(sizes) - min(sizes) <= 1


async def test_a_single_replica_takes_all_shards(redis: Redis, eventually: Eventually) -> None:
    async with running(replica(redis, "a")) as a:
        await eventually(lambda: is_fair(a))


async def test_replicas_share_fairly_as_they_come_and_go(redis: Redis, eventually: Eventually) -> None:
    async with running(replica(redis, "a")) as a:
        await eventually(lambda: is_fair(a))
        async with running(replica(redis, "b")) as b:
            await eventually(lambda: is_fair(a, b))
            async with running(replica(redis, "c")) as c:
                await eventually(lambda: is_fair(a, b, c))
            await eventually(lambda: is_fair(a, b))
        await eventually(lambda: is_fair(a))


async def test_what_a_killed_replica_held_is_taken_over_within_the_ttl(redis: Redis, eventually: Eventually) -> None:
    ttl = timedelta(seconds=5)  # as much again is left for a busy machine
    async with running(replica(redis, "a", ttl)) as a:
        async with running(replica(redis, "b", ttl), killed=True) as b:
            await eventually(lambda: is_fair(a, b))
        await eventually(lambda: is_fair(a), within=ttl.total_seconds() * 2)


async def test_shards_are_given_up_at_once_on_an_orderly_end(
    redis: Redis, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "RELEASE_SECONDS", 60)
    async with running(replica(redis, "a", LONG)) as a:
        await eventually(lambda: is_fair(a))
    assert await redis.keys(f"{PREFIX}lease:*") == []


async def test_no_shard_is_ever_believed_held_by_two(redis: Redis, eventually: Eventually) -> None:
    replicas = [replica(redis, name) for name in "abc"]
    seen_twice: list[list[int]] = []

    def check(_shard: int) -> None:
        held = all_shards(*replicas)
        if len(held) != len(set(held)):
            seen_twice.append(held)

    for leases in replicas:
        leases.on_gain(check)
    async with running(replicas[0]), running(replicas[1]):
        async with running(replicas[2], killed=True):
            await eventually(lambda: is_fair(*replicas))
        await eventually(lambda: is_fair(*replicas[:2]))
    assert seen_twice == []


async def test_each_taking_has_a_greater_fence_and_the_key_shows_the_newest(redis: Redis) -> None:
    stale = replica(redis, "a", LONG)
    await stale.tick()
    old = dict(stale.held)
    await redis.delete(*(keys.lease(PREFIX, shard) for shard in range(SHARDS)))
    await redis.delete(keys.lease_replicas(PREFIX))
    fresh = replica(redis, "b", LONG)
    await fresh.tick()
    assert set(fresh.held) == set(old)
    assert all(fresh.held[shard] > old[shard] for shard in old)
    # A store script compares just this: the stale holder's number is not the key's any more.
    for shard, fence in fresh.held.items():
        assert await redis.hget(keys.lease(PREFIX, shard), "fence") == str(fence).encode()
        assert fence != old[shard]


async def test_fences_go_on_growing_with_the_store_emptied(redis: Redis) -> None:
    first = replica(redis, "a", LONG)
    await first.tick()
    newest = max(first.held.values())
    await asyncio.sleep(0.05)
    await redis.flushall()
    second = replica(redis, "b", LONG)
    await second.tick()
    assert min(second.held.values()) > newest


async def test_a_replica_that_cannot_renew_stops_believing_in_its_leases(redis: Redis) -> None:
    now = 100.0
    leases = replica(redis, "a", clock=lambda: now)
    await leases.tick()
    assert len(leases.held) == SHARDS
    now += TTL.total_seconds()
    assert leases.held == {}


async def test_a_loss_is_reported_before_others_get_the_shard(redis: Redis) -> None:
    a, b = replica(redis, "a", LONG), replica(redis, "b", LONG)
    lost: list[int] = []
    a.on_lose(lost.append)
    await a.tick()
    await b.tick()
    await a.tick()
    assert len(lost) == SHARDS // 2
    assert not b.held
    await a.tick()
    await b.tick()
    assert sorted(b.held) == sorted(lost)


async def test_a_gain_is_reported_with_its_fence_held(redis: Redis) -> None:
    leases = replica(redis, "a", LONG)
    fences: dict[int, int] = {}
    leases.on_gain(lambda shard: fences.setdefault(shard, leases.held[shard]))
    await leases.tick()
    assert fences == dict(leases.held)


async def test_leases_that_expired_by_this_clock_only_are_lost_and_gained_again(redis: Redis) -> None:
    now = 0.0
    a = replica(redis, "a", LONG, clock=lambda: now)
    heard: list[tuple[str, int]] = []
    await a.tick()
    a.on_lose(lambda shard: heard.append(("lost", shard)))
    a.on_gain(lambda shard: heard.append(("gained", shard)))
    now = LONG.total_seconds()  # Redis counts from when it heard of them, which is later
    assert not a.held
    await a.tick()
    assert sorted(heard) == [(word, shard) for word in ("gained", "lost") for shard in range(SHARDS)]


async def test_redis_away_is_survived(redis_url: str, redis: Redis) -> None:
    away = connect("unix:///nowhere.sock")
    with pytest.raises(StoreUnavailable):
        await replica(away, "a").tick()
    await away.aclose()


@pytest.mark.parametrize("error", REDIS_ERRORS, ids=error_name)
async def test_every_error_of_redis_is_survived(redis: Redis, eventually: Eventually, error: RedisError) -> None:
    faulty = FaultyRedis.of(redis)
    async with running(replica(faulty, "a")) as leases:
        with faulty.failing(error) as has_failed:
            await eventually(has_failed)
            await eventually(lambda: not leases.held)
        await eventually(lambda: is_fair(leases))


async def test_a_damaged_lease_is_taken_like_a_free_one(redis: Redis) -> None:
    damaged = [("holder", "b"), ("holder", "a"), ("holder", "b", "fence", "none"), ("fence", "1")]
    for shard, fields in enumerate(damaged):
        await redis.execute_command("HSET", keys.lease(PREFIX, shard), *fields)
    leases = replica(redis, "a", LONG)
    await leases.tick()
    assert all_shards(leases) == list(range(SHARDS))


async def test_a_fault_of_what_hears_of_leases_ends_nothing(redis: Redis) -> None:
    def faulty(shard: int) -> None:
        raise ValueError(f"a fault with {shard}")

    leases, gained, lost = ShardLeases(redis, PREFIX, "a", shards=2), list[int](), list[int]()
    leases.on_gain(faulty)
    leases.on_gain(gained.append)
    leases.on_lose(faulty)
    leases.on_lose(lost.append)
    await leases.tick()
    await leases.release()
    assert sorted(gained) == sorted(lost) == [0, 1]


async def test_a_clock_that_is_set_back_keeps_no_lease_of_a_dead_replica_alive(
    redis: Redis, eventually: Eventually
) -> None:
    dead, hours = replica(redis, "dead"), 2 * 3600
    await dead.tick()
    for shard in range(SHARDS):
        await redis.expire(keys.lease(PREFIX, shard), hours)
    await redis.persist(keys.lease(PREFIX, 0))
    await redis.zadd(keys.lease_replicas(PREFIX), {"dead": (time.time() + hours) * 1000})
    await redis.expire(keys.lease_replicas(PREFIX), hours)

    async def only_a_is_live() -> bool:
        left = [await redis.pttl(keys.lease(PREFIX, shard)) for shard in range(SHARDS)]
        return await redis.zrange(keys.lease_replicas(PREFIX), 0, -1) == [b"a"] and all(0 < one <= 600 for one in left)

    async with running(replica(redis, "a")) as a:
        await eventually(lambda: is_fair(a))
        await eventually(only_a_is_live)


def test_a_clusters_shard_never_changes() -> None:
    assert [shard_of(f"c{n}", 16) for n in range(6)] == [7, 1, 11, 13, 14, 8]
