"""Damages what the store has, as a newer release or a fault would."""

from __future__ import annotations

from redis.asyncio import Redis

from headrace_controller.keys import Keys
from headrace_controller.model import ClusterId


async def overwrite(redis: Redis, keys: Keys, cluster: ClusterId, **fields: bytes | str | None) -> None:
    """Writes fields of a record (None removes one), with a new revision that is announced."""
    for name, value in fields.items():
        if value is None:
            await redis.hdel(keys.record(cluster), name)
        else:
            await redis.hset(keys.record(cluster), name, value)
    await _announce(redis, keys, cluster)


async def overwrite_worker(redis: Redis, keys: Keys, cluster: ClusterId, field: str, piece: bytes) -> None:
    """Writes a piece of a worker, with a new revision that is announced."""
    await redis.hset(keys.workers(cluster), field, piece)
    await redis.zadd(keys.touched(cluster), {field.partition("/")[2]: int(await redis.get(keys.version()) or 0) + 1})
    await _announce(redis, keys, cluster)


async def _announce(redis: Redis, keys: Keys, cluster: ClusterId) -> None:
    revision = str(int(await redis.incr(keys.version())))
    await redis.hset(keys.record(cluster), "revision", revision)
    entry = {"kind": "record", "cluster": cluster, "owner": "somebody", "revision": revision}
    await redis.xadd(keys.changes(), entry)  # pyright: ignore[reportArgumentType] narrower than what redis-py takes
