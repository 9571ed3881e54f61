"""What is kept of observations: the newest by shard, for a day."""

from __future__ import annotations

from redis.asyncio import Redis

from headrace_controller.keys import Keys
from headrace_controller.store import Store


async def test_the_newest_is_kept_for_each_shard(store: Store, redis: Redis, keys: Keys) -> None:
    for kept in (b"old", b"new"):
        await store.observations.save(1, kept)
    assert await store.observations.load(1) == b"new"
    assert await store.observations.load(2) is None
    assert 0 < await redis.ttl(keys.observed(1)) <= 86_400
