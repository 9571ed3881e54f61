"""Limits that are lowered below what is used: who is warned, and who loses workers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.controller.cuts import lose_connection
from tests.controller.queueing.waiting import Replica, policy

from headrace.errors import StoreUnavailable
from headrace.v1.enums import EventType
from headrace_controller.model import AdaptRange, Cluster, Group, Severity
from headrace_controller.store import DEPLOYMENT

pytestmark = pytest.mark.usefixtures("fence", "store")


async def told(replica: Replica, cluster: Cluster) -> list[str]:
    found = [one for one in await replica.store.events.list(cluster.id) if one.type is EventType.LIMIT_LOWERED]
    assert all(one.severity is Severity.WARNING for one in found)
    return [one.message for one in found]


async def test_each_cluster_above_a_lowered_limit_is_warned_once(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"workers": 10}))
    ann, second, bob = await replica.create("ann", 5), await replica.create("ann", 1), await replica.create("bob", 5)
    waiting = await replica.create("ann", 10)
    await replica.lowering.step()
    assert await told(replica, ann) == []
    replica.follow(policy(user={"workers": 5}))
    for _ in range(2):
        await replica.lowering.step()
    other = Replica(redis, policy(user={"workers": 5}))  # after a restart
    await other.load()
    await other.lowering.step()
    warning = "A limit was lowered: users/ann may have 5 workers, and has 6. It gets no more until that is less."
    assert [await told(replica, one) for one in (ann, second, bob, waiting)] == [[warning], [warning], [], []]
    assert await replica.workers(ann, second) == [5, 1]

    for workers in (6, 5):  # raised, and lowered again
        replica.follow(policy(user={"workers": workers}))
        await replica.lowering.step()
    assert await told(replica, ann) == [warning, warning]


@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("command", [1, 2, 3])
async def test_a_cluster_is_warned_once_wherever_the_store_goes_away(
    redis: Redis, command: int, *, executed: bool
) -> None:
    replica = Replica(redis, policy(user={"workers": 10}))
    ann = await replica.create("ann", 6)
    replica.follow(policy(user={"workers": 5}))
    with pytest.MonkeyPatch.context() as monkeypatch:
        lose_connection(redis, monkeypatch, command=command, executed=executed)
        with suppress(StoreUnavailable):
            await replica.lowering.step()
    for _ in range(2):
        await replica.lowering.step()
    assert len(await told(replica, ann)) == 1


async def test_the_newest_clusters_lose_workers_after_the_grace(redis: Redis) -> None:
    lowered: dict[str, Any] = {"on_lowered": "scale_down", "lowered_grace": 3600}
    replica = Replica(redis, policy(deployment={"workers": 10}))
    ann, bob, eve = [await replica.create(name, 3, created=n) for n, name in enumerate(("ann", "bob", "eve"))]
    replica.follow(policy(deployment={"workers": 5}, **lowered))
    await replica.lowering.step()
    assert await replica.workers(ann, bob, eve) == [3, 3, 3]
    above = "A limit was lowered: deployment may have 5 workers, and has 9."
    unless = "data, unless less is used by then."
    assert await told(replica, ann) == [f"{above} It gets no more until that is less."]
    assert await told(replica, bob) == [
        f"{above} 1 worker of this cluster is retired in 1 h, after handing over its {unless}"
    ]
    assert await told(replica, eve) == [
        f"{above} 3 workers of this cluster are retired in 1 h, after handing over their {unless}"
    ]
    await replica.scale(eve, 2)
    replica.later = 3540  # and what the test takes
    await replica.lowering.step()
    assert await replica.workers(ann, bob, eve) == [3, 3, 2]
    replica.later = 3601
    await replica.lowering.step()
    assert await replica.workers(ann, bob, eve) == [3, 2, 0]
    assert (await told(replica, eve))[-1] == "2 workers are retired: deployment may have 5 workers, and has 8."
    await replica.lowering.step()
    assert (await replica.store.usage(DEPLOYMENT))["workers"] == 5


async def test_what_is_given_back_while_clusters_are_warned_is_not_taken_away(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(redis, policy())
    ann, bob, eve = [await replica.create(name, 3, created=n) for n, name in enumerate(("ann", "bob", "eve"))]
    replica.follow(policy(deployment={"workers": 5}, on_lowered="scale_down", lowered_grace=0))
    add_event, warned = replica.store.notes.add_event, 0

    async def meanwhile(*arguments: Any, **options: Any) -> None:
        nonlocal warned
        await add_event(*arguments, **options)
        warned += 1
        if warned == 3:
            await replica.end(ann)

    monkeypatch.setattr(replica.store.notes, "add_event", meanwhile)
    await replica.lowering.step()
    assert await replica.workers(bob, eve) == [3, 2]


async def test_a_replica_takes_workers_from_its_own_clusters_only(redis: Redis) -> None:
    lowered = policy(deployment={"workers": 2}, on_lowered="scale_down", lowered_grace=0)
    replica = Replica(redis, policy())
    clusters = [await replica.create(name, 3, created=n) for n, name in enumerate(("ann", "bob", "eve"))]
    one, other = Replica(redis, lowered), Replica(redis, lowered)
    for some, of in ((one, clusters[2]), (other, clusters[0])):
        some.owned = {of.id}
        await some.load()
    await other.lowering.step()  # it does not know that the others are still to lose theirs
    assert await replica.workers(*clusters) == [2, 3, 3]
    await one.lowering.step()
    assert await replica.workers(*clusters) == [2, 3, 0]
    assert await told(replica, clusters[1]) == []


async def test_several_limits_and_groups_are_kept_at_once(redis: Redis) -> None:
    lowered: dict[str, Any] = {"on_lowered": "scale_down", "lowered_grace": 0}
    large = Group(name="large", options={"worker_cores": 4.0}, size=3)
    adaptive = Group(name="adaptive", size=2, adapt=AdaptRange(minimum=2, maximum=9))
    replica = Replica(redis, policy())
    ann = await replica.create("ann", 4)
    ann = await replica.change(
        ann,
        lambda c: replace(c, spec=replace(c.spec, groups=(*c.spec.groups, large, adaptive)), targets={"adaptive": 4}),
    )
    assert await replica.workers(ann) == [11]
    replica.follow(policy(user={"cores": 10}, cluster={"workers": 7}, **lowered))
    await replica.lowering.step()
    found = await replica.store.reads.get(ann.id)
    assert [found.desired(group) for group in found.spec.groups] == [4, 1, 0]
    assert found.spec.groups[2].adapt == AdaptRange(minimum=0, maximum=9)
    replica.follow(policy(user={"clusters": 0}, **lowered))
    await replica.lowering.step()  # no cluster is stopped
    assert await replica.workers(ann) == [5]


async def test_a_cluster_that_loses_workers_waits_for_none(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"workers": 4}, on_scale="queue"))
    ann = await replica.scale(await replica.create(size=2), 9)
    assert await replica.workers(ann) == [4]
    replica.follow(policy(deployment={"workers": 3}, on_scale="queue", on_lowered="scale_down", lowered_grace=0))
    await replica.lowering.step()
    assert await replica.workers(ann) == [3]
    assert (await replica.store.usage(DEPLOYMENT))["workers"] == 3
    assert await replica.store.queue.lengths("ann") == (0, 0)  # type: ignore[arg-type]
