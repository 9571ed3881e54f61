"""What limits and the queue cost, by the number of clusters of others, of one's own, and of those that wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

from benchmarks.growth.tables import Row
from benchmarks.tenants.valkey import forget, logged, valkey
from redis.asyncio import Redis
from tests.controller.queueing.waiting import FENCE, Replica, policy

from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import ClusterId

_USERS, _SAMPLE, _RUNNING = 200, 100, 50
_AT_ONCE = 50
_GROUPS = ("lab", "staff")
_UNBOUND = {"clusters": 10**6, "workers": 10**6, "cores": 10**6, "memory_bytes": 2**50}


async def measure(small: bool) -> AsyncIterator[list[Row]]:
    others, own, queues = ((100, 1_000), (1, 10), (100, 500)) if small else (
        (100, 1_000, 5_000), (1, 10, 50), (500, 5_000, 50_000),
    )  # fmt: skip
    async with valkey() as redis:
        yield [await _admission(redis, size, "clusters of 200 others", others=size, own=10) for size in others]
        yield [await _admission(redis, size, "own clusters", others=1_000, own=size) for size in own]
        yield [await _queue(redis, size) for size in queues]


async def _admission(redis: Redis, size: int, of: str, *, others: int, own: int) -> Row:
    """With limits of cluster, user, two groups, profile and deployment."""
    groups = dict.fromkeys(_GROUPS, _UNBOUND)
    replica = await new_replica(redis, cluster=_UNBOUND, user=_UNBOUND, deployment=_UNBOUND, groups=groups)
    await _fill(replica, others)
    for _ in range(own):
        await replica.create("caller", groups=_GROUPS)
    return await lives(redis, replica, Row(size, f"{of}: in Redis, µs"))


async def lives(redis: Redis, replica: Replica, row: Row) -> Row:
    """Creates, scales and ends clusters, and notes what each of these writes costs."""
    await forget(redis)
    for _ in range(_SAMPLE):
        cluster = await replica.create("caller", groups=_GROUPS)
        await replica.scale(cluster, 1)
        await replica.end(cluster)
    times = await logged(redis)
    for name, script in (("create", "create"), ("scale", "change"), ("end", "save_status")):
        row.figures[name] = median(times[script])
        row.figures[f"nine of ten, {name}"] = sorted(times[script])[len(times[script]) * 9 // 10]
    return row


async def _queue(redis: Redis, size: int) -> Row:
    """Who waits does so for room of the deployment."""
    replica = await new_replica(redis, deployment={"clusters": _RUNNING})
    running = [(await replica.create("first")).id for _ in range(_RUNNING)]
    await _fill(replica, size)
    waiting = replica.order.waiting()[:: max(1, size // _SAMPLE)]  # from all of the queue
    row = Row(size, "clusters wait: in Redis, µs")

    async def note(name: str, work: Callable[[ClusterId], Awaitable[object]], clusters: Sequence[ClusterId]) -> None:
        sums: list[int] = []
        for cluster in clusters:
            await forget(redis)
            await work(cluster)
            sums.append(sum(map(sum, (await logged(redis)).values())))
        row.figures[name] = median(sums)

    await note("begin to wait", lambda _: replica.create("user-1"), waiting)
    await note("find a place", replica.store.queue.place, waiting)
    await note("cancel one", partial(_cancel, replica), waiting[::2])
    await note("end one that has waited for too long", replica.end, waiting[1::2])
    await note("end another, admit the next, look for more", partial(_give_room, replica), running)
    steps = [await _cpu_of_a_step(replica, cluster) for cluster in replica.order.waiting()[:_RUNNING]]
    row.figures["CPU of a step after a change"] = median(steps) * 1e6
    return row


async def _cancel(replica: Replica, cluster: ClusterId) -> None:
    """As its user does, and then its reconciler."""
    seen = await replica.store.reads.get(cluster)
    await replica.end(await replica.change(seen, lambda it: replace(it, spec=replace(it.spec, stop=True))))


async def _give_room(replica: Replica, running: ClusterId) -> None:
    before = len(replica.order)
    await replica.end(running)
    await replica.serving.serve()
    assert len(replica.order) == before - 1


async def _cpu_of_a_step(replica: Replica, cluster: ClusterId) -> float:
    """What a replica does once in a second while clusters wait, after one has left the queue."""
    await replica.end(cluster)
    before = time.process_time()
    await replica.serving.step()
    return time.process_time() - before


async def new_replica(redis: Redis, **limits: Any) -> Replica:
    await redis.flushall()
    await redis.hset(Keys(Prefix("test")).lease(FENCE.shard), mapping={"holder": "a", "fence": str(FENCE.number)})
    return Replica(redis, policy(**limits, queue={"each": 1000, "patience": 3600}))


async def _fill(replica: Replica, number: int) -> None:
    for start in range(0, number, _AT_ONCE):
        these = range(start, min(start + _AT_ONCE, number))
        await asyncio.gather(*(replica.create(f"user-{n % _USERS}", groups=_GROUPS) for n in these))
