"""Whoever does what at once, and whoever dies: the sum never exceeds a limit, nothing leaks, everybody gets in."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controller.queueing.waiting import FENCE, Replica, policy

from headrace_chassis.redis.connection import connect
from headrace_chassis.redis.keys import Prefix
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.store import DEPLOYMENT

EACH, ALL = 8, 12
KEYS = Keys(Prefix("test"))


@settings(max_examples=12)
@given(
    wanted=st.lists(st.tuples(st.sampled_from(["ann", "bob", "eve"]), st.integers(0, 6)), min_size=4, max_size=20),
    patience=st.sampled_from([0, 300]),
    seed=st.integers(0, 2**32),
)
def test_concurrent_replicas_and_crashes(
    redis_url: str, wanted: list[tuple[str, int]], patience: int, seed: int
) -> None:
    asyncio.run(_live(redis_url, wanted, patience, Random(seed)))


async def _live(url: str, wanted: list[tuple[str, int]], patience: int, random: Random) -> None:
    limits = {"user": {"workers": EACH}, "deployment": {"workers": ALL}}
    rules = policy(**limits, on_scale="queue", queue={"patience": patience, "each": 100})
    async with connect(url) as one, connect(url) as other:
        await one.flushall()
        await one.hset(KEYS.lease(FENCE.shard), mapping={"holder": "a", "fence": str(FENCE.number)})
        replicas = [Replica(one, rules), Replica(other, rules)]
        made = await asyncio.gather(*(replicas[n % 2].create(*what) for n, what in enumerate(wanted)))
        alive = {cluster.id for cluster in made}
        while alive:
            running, waiting = await _look(replicas[0], alive)
            assert running or not waiting
            if len(running) == 1 == len(alive):  # the last one has got all that it asked for
                assert running[0].desired(running[0].spec.groups[0]) == running[0].spec.groups[0].size
            growing = random.sample(running, random.randint(0, len(running)))
            await asyncio.gather(*(random.choice(replicas).scale(one, random.randint(0, 6)) for one in growing))
            ending = random.sample(running, random.randint(1, len(running)))
            await asyncio.gather(*(random.choice(replicas).end(cluster) for cluster in ending))
            alive -= {cluster.id for cluster in ending}
            if random.random() < 0.3:
                await replicas[0].store.queue.next_freed()  # whoever took it is killed
            await _serve(replicas, random)
        left = {key.decode().removeprefix(KEYS.prefix) async for key in one.scan_iter()}
        assert {key for key in left if key.startswith(("queue", "usage"))} <= {"queue-order", "queue-freed"}


async def _serve(replicas: list[Replica], random: Random) -> None:
    """Both look through the queue at once, and one is killed in the middle; what is left is repaired."""
    for replica in replicas:
        await replica.load()
        replica.serving.follow(None)
    first, second = (asyncio.create_task(replica.serving.step()) for replica in replicas)
    for _ in range(random.randint(0, 30)):
        await asyncio.sleep(0)
    if random.random() < 0.5:
        first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await replicas[1].load()
    replicas[1].serving.follow(None)
    await replicas[1].serving.step()


async def _look(replica: Replica, alive: set[ClusterId]) -> tuple[list[Cluster], list[Cluster]]:
    """Return who runs and who waits; what is counted is what they have, and never too much."""
    found = [await replica.store.reads.get(cluster) for cluster in sorted(alive)]
    running = [cluster for cluster in found if cluster.begun is not None]
    sums = Counter[str]()
    for cluster in running:
        workers = cluster.desired(cluster.spec.groups[0])
        sums[f"users/{cluster.owner}"] += workers
        sums[DEPLOYMENT] += workers
    for subject, most in ((DEPLOYMENT, ALL), *((f"users/{user}", EACH) for user in ("ann", "bob", "eve"))):
        assert (await replica.store.usage(subject))["workers"] == sums[subject] <= most
    return running, [cluster for cluster in found if cluster.begun is None]
