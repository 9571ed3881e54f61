"""A store that loses everything while it is in use."""

from __future__ import annotations

from redis.asyncio import Redis


async def empty(redis: Redis) -> None:
    """Lose everything."""
    await redis.flushall()
    await next_millisecond(redis)


async def next_millisecond(redis: Redis) -> None:
    """Wait until nothing new can have the position of a lost entry: its millisecond, and its number in it."""
    before = await _now(redis)
    while await _now(redis) == before:
        pass


async def _now(redis: Redis) -> int:
    """Return the store's time in ms."""
    seconds, microseconds = await redis.time()
    return seconds * 1000 + microseconds // 1000
