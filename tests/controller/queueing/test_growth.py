"""Workers of living clusters that wait for room: who gets some, and that nothing is promised twice or lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.controller.queueing.waiting import Replica, policy

from headrace.errors import QuotaExceeded
from headrace_controller.keys import Keys
from headrace_controller.model import AdaptRange, Cluster, Demand, Group
from headrace_controller.plan import Place
from headrace_controller.queueing.serving import LOOKAHEAD
from headrace_controller.store import DEPLOYMENT

pytestmark = pytest.mark.usefixtures("fence", "store")


async def test_what_there_is_room_for_comes_at_once_and_the_rest_later(redis: Redis, keys: Keys) -> None:
    replica = Replica(redis, policy(deployment={"workers": 10}, on_scale="queue"))
    ann, bob = await replica.create("ann", 6), await replica.create("bob", 1)
    grown = await replica.scale(bob, 8)
    assert await replica.store.reads.get(bob.id) == grown
    assert (grown.spec.groups[0].size, await replica.workers(bob)) == (8, [4])
    assert grown.queued is not None
    waits = grown.queued
    assert (waits.subject, waits.resource, waits.most, waits.used) == (DEPLOYMENT, "workers", 10, 10)
    assert (grown.begun, grown.status.phase) == (bob.created, bob.status.phase)  # it lives as before
    assert await replica.store.usage("users/bob") == Demand(clusters=1, workers=4, cores_milli=4000)
    assert await replica.store.queue.lengths("bob") == (1, 1)  # type: ignore[arg-type]

    await replica.scale(ann, 4)
    await replica.serving.step()
    assert await replica.workers(ann, bob) == [4, 6]
    await replica.end(ann)
    await replica.serving.step()
    assert await replica.workers(bob) == [8]
    done = await replica.store.reads.get(bob.id)
    assert done.queued is not None
    assert (done.queued.waits, done.begun) == (False, bob.created)
    [*_, last] = await replica.store.events.list(bob.id)
    assert last.message.startswith("There is room for more workers. It waited for ")
    left = {key.decode().removeprefix(keys.prefix) async for key in redis.scan_iter()}
    assert {key for key in left if key.startswith("queue")} <= {"queue-order", "queue-freed"}


async def test_users_take_turns_and_who_got_some_goes_behind_the_others(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"workers": 4}, on_scale="queue"))
    zoe = await replica.create("zoe", 4)
    ann, bob = await replica.create("ann"), await replica.create("bob")
    await replica.scale(ann, 3)
    await replica.scale(bob, 3)
    eve = await replica.create("eve", 1)
    for size, workers in ((2, [2, 0, 0]), (1, [2, 1, 0])):
        await replica.scale(zoe, size)
        await replica.serving.step()
        assert await replica.workers(ann, bob) == workers[:2]
        assert await replica.waits(eve) == [True]
    await replica.scale(zoe, 0)
    await replica.serving.step()
    assert await replica.waits(eve) == [False]
    await replica.end(eve)
    await replica.serving.step()
    assert await replica.workers(ann, bob) == [3, 1]


async def test_asking_for_fewer_cancels_and_keeps_the_turn_of_the_rest(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"workers": 4}, on_scale="queue"))
    await replica.create("zoe", 3)
    ann, bob = await replica.create("ann"), await replica.create("bob")
    first = await replica.scale(ann, 4)
    await replica.scale(bob, 2)
    again = await replica.scale(ann, 3)
    assert again.queued is not None
    assert first.queued is not None
    assert (again.queued.turn, again.queued.since) == (first.queued.turn, first.queued.since)
    assert list(await replica.store.queue.waiting(DEPLOYMENT)) == [ann.id, bob.id]
    fewer = await replica.scale(ann, 1)
    assert fewer.queued is not None
    assert not fewer.queued.waits
    assert await replica.workers(ann) == [1]
    await replica.end(bob)
    assert await replica.store.queue.lengths("ann") == (0, 0)  # type: ignore[arg-type]


async def test_another_change_leaves_those_that_wait_alone(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"workers": 2}, on_scale="queue"))
    grown = await replica.scale(await replica.create(), 5)
    tagged = await replica.change(grown, lambda c: replace(c, spec=replace(c.spec, tags={"a": "b"})))
    assert tagged.queued == grown.queued
    assert await replica.workers(grown) == [2]


async def test_adaptive_scaling_waits_too(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"workers": 3}, on_scale="queue"))
    other = await replica.create(size=2)
    adaptive = Group(size=0, adapt=AdaptRange(minimum=0, maximum=10))

    def adapting(target: int, cluster: Cluster) -> Cluster:
        return replace(cluster, spec=replace(cluster.spec, groups=(adaptive,)), targets={"default": target})

    cluster = await replica.create()
    cluster = await replica.change(cluster, lambda c: adapting(9, c))
    assert (cluster.targets, await replica.workers(cluster)) == ({"default": 9}, [1])
    await replica.end(other)
    await replica.serving.step()
    assert await replica.workers(cluster) == [3]
    cluster = await replica.store.reads.get(cluster.id)
    cluster = await replica.change(cluster, lambda c: adapting(2, c))
    assert await replica.workers(cluster) == [2]
    assert await replica.store.queue.lengths("ann") == (0, 0)  # type: ignore[arg-type]


async def test_groups_of_different_shape_share_what_there_is(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"cores": 10}, on_scale="queue"))
    groups = (Group(name="small"), Group(name="large", options={"worker_cores": 4.0}))
    cluster = await replica.create()
    cluster = await replica.change(cluster, lambda c: replace(c, spec=replace(c.spec, groups=groups)))
    await replica.scale(cluster, 1, "small")
    await replica.scale(cluster, 5, "large")
    cluster = await replica.scale(cluster, 3, "small")
    assert [cluster.desired(group) for group in cluster.spec.groups] == [2, 2]
    assert (await replica.store.usage("users/ann"))["cores_milli"] == 10_000
    cluster = await replica.change(cluster, lambda c: replace(c, spec=replace(c.spec, groups=groups[:1])))
    assert await replica.store.queue.lengths("ann") == (0, 0)  # type: ignore[arg-type]


async def test_room_is_kept_for_one_worker_of_who_has_waited_for_long(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"workers": 4}, on_scale="queue", queue={"patience": 0}))
    zoe, ann = await replica.create("zoe", 4), await replica.create("ann")
    await replica.scale(ann, 100)
    await replica.serving.step()  # it waits for long now
    await replica.scale(zoe, 2)
    late = [await replica.create(name, 1) for name in ("bob", "eve")]
    assert await replica.waits(*late) == [True, True]  # what has become free is offered to who waits first
    await replica.serving.step()
    assert await replica.workers(ann) == [2]
    await replica.scale(zoe, 0)
    await replica.serving.step()
    assert await replica.waits(*late) == [False, False]  # a large wish is in nobody's way


async def test_what_may_never_come_is_in_nobodys_way_until_the_limits_are_raised(redis: Redis) -> None:
    rules: dict[str, Any] = {"on_scale": "queue", "queue": {"patience": 0}}
    replica = Replica(redis, policy(deployment={"cores": 10}, **rules))
    giant = Group(name="giant", options={"worker_cores": 11.0}, size=3)
    zoe = await replica.create("zoe", 10)
    anns = [await replica.create("ann") for _ in range(LOOKAHEAD + 1)]
    for one in anns:
        await replica.change(one, lambda c: replace(c, spec=replace(c.spec, groups=(*c.spec.groups, giant))))
    bob = await replica.create("bob", 2)
    replica.serving.follow(None)
    await replica.serving.step()
    assert list(await replica.store.queue.waiting(DEPLOYMENT)) == [bob.id]
    waiting = await replica.store.reads.get(anns[0].id)
    assert waiting.queued is not None
    assert (waiting.queued.never, waiting.queued.subject, replica.order.place(bob)) == (True, DEPLOYMENT, Place(0))
    await replica.end(zoe)
    await replica.serving.step()
    assert await replica.waits(bob) == [False]
    eve = await replica.create("eve", 8)  # no room is kept either
    assert await replica.waits(eve) == [False]

    await replica.scale(anns[0], 1)  # of the other group, some may come
    assert list(await replica.store.queue.waiting(DEPLOYMENT)) == [anns[0].id]
    await replica.scale(anns[0], 0)
    replica.follow(policy(deployment={"cores": 21}, **rules))
    await replica.serving.step()
    assert sum(await replica.workers(*anns)) == 1
    await replica.load()
    replica.follow(policy(deployment={"cores": 10}, **rules))
    await replica.serving.step()
    assert list(await replica.store.queue.waiting(DEPLOYMENT)) == []


async def test_who_waits_goes_on_when_the_policy_lets_nobody_wait_any_more(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"workers": 4}, on_scale="queue"))
    other, cluster = await replica.create(size=2), await replica.create()
    await replica.scale(cluster, 3)
    replica.admission.follow(policy(user={"workers": 4}, on_scale="reject"))
    with pytest.raises(QuotaExceeded):
        await replica.scale(other, 3)
    await replica.end(other)
    await replica.serving.step()
    assert await replica.workers(cluster) == [3]
    with pytest.raises(QuotaExceeded):
        await replica.scale(cluster, 5)


async def test_who_stops_while_workers_wait_leaves_nothing(redis: Redis, keys: Keys) -> None:
    replica = Replica(redis, policy(deployment={"workers": 2}, on_scale="queue", queue={"patience": 0}))
    cluster = await replica.scale(await replica.create(size=1), 9)
    await replica.serving.step()
    await replica.end(cluster)
    await replica.serving.serve()
    left = {key.decode().removeprefix(keys.prefix) async for key in redis.scan_iter()}
    assert {key for key in left if key.startswith(("queue", "usage"))} <= {"queue-order"}


async def test_whom_a_budget_refuses_gets_no_more_workers(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"workers": 2}, on_scale="queue"))
    zoe, ann = await replica.create("zoe", 2), await replica.create("ann")
    await replica.scale(ann, 1)
    replica.over_budget.add("ann")
    await replica.end(zoe)
    await replica.serving.step()
    assert await replica.workers(ann) == [0]
    await replica.load()
    replica.over_budget.clear()
    replica.serving.follow(None)
    await replica.serving.step()
    assert await replica.workers(ann) == [1]


async def test_those_whom_a_budget_refuses_are_in_nobodys_way(redis: Redis, keys: Keys) -> None:
    replica = Replica(redis, policy(deployment={"workers": 4}, on_scale="queue", queue={"patience": 0}))
    zoe = await replica.create("zoe", 4)
    members = [f"ann{n}" for n in range(LOOKAHEAD + 1)]
    clusters = [await replica.scale(await replica.create(name), 1) for name in members]
    bob = await replica.scale(await replica.create("bob"), 1)
    await replica.serving.step()  # they have waited for long now
    replica.over_budget |= set(members)
    await replica.end(zoe)
    await replica.serving.step()
    assert await replica.workers(bob) == [1]
    eve = await replica.create("eve", 3)  # no room is kept for them either
    assert await replica.waits(eve) == [False]
    assert not [key async for key in redis.scan_iter(f"{keys.prefix}queue-held*")]

    await replica.load()
    replica.over_budget.clear()
    await replica.end(eve)
    replica.serving.follow(None)
    await replica.serving.step()
    assert await replica.workers(*clusters[:4]) == [1, 1, 1, 0]


async def test_one_user_who_waits_for_much_hides_nobody(redis: Redis, keys: Keys) -> None:
    replica = Replica(redis, policy(deployment={"cores": 10}, on_scale="queue"))
    zoe = await replica.create("zoe", 10)
    large = Group(name="large", options={"worker_cores": 8.0}, size=1)
    for _ in range(LOOKAHEAD + 1):
        ann = await replica.create("ann")
        await replica.change(ann, lambda c: replace(c, spec=replace(c.spec, groups=(*c.spec.groups, large))))
    await redis.hset(keys.queue("order"), "turn", "1000")  # many had their turn meanwhile
    bob = await replica.create("bob", 1)
    await replica.scale(zoe, 9)
    await replica.serving.step()
    assert await replica.waits(bob) == [False]
