"""The queue: who waits, who is next, and that nobody takes more than a limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.controller.cuts import lose_connection
from tests.controller.damage import overwrite
from tests.controller.queueing.waiting import Replica, policy

from headrace.errors import StoreUnavailable
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster, ClusterId, Demand, Phase, Status
from headrace_controller.queueing import serving
from headrace_controller.store import DEPLOYMENT, Fence, Store, queue

pytestmark = pytest.mark.usefixtures("fence", "store")


async def test_what_goes_over_a_limit_waits_and_is_promised_nothing(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"clusters": 1}))
    first = await replica.create()
    second = await replica.create(timeout=60, traceparent="of the call")
    assert (first.status.phase, first.queued) == (Phase.STARTING, None)
    assert second.status == Status(phase=Phase.QUEUED, traceparent="of the call")
    assert second.queued is not None
    waits = second.queued
    assert (waits.subject, waits.resource, waits.most, waits.used, waits.timeout) == ("users/ann", "clusters", 1, 1, 60)
    assert await replica.store.reads.get(second.id) == second
    assert (await replica.store.usage(DEPLOYMENT))["clusters"] == 1
    await replica.serving.step()
    assert await replica.waits(second) == [True]

    await replica.end(first)
    await replica.serving.step()
    admitted = await replica.store.reads.get(second.id)
    assert admitted.queued is not None
    assert admitted.begun == admitted.queued.admitted
    assert (await replica.store.usage("users/ann"))["clusters"] == 1
    [*_, last] = await replica.store.events.list(second.id)
    assert last.message.startswith("There is room for the cluster. It waited for ")


async def test_what_may_not_wait_is_refused(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"clusters": 1, "workers": 5}, queue={"each": 1}))
    await replica.create()
    assert (await replica.refused(timeout=0)).details["what"] == "clusters"
    never = await replica.refused(size=6)
    assert (never.details["what"], never.details["used"], never.details["left"]) == ("workers", "0", "5")
    await replica.create()
    full = await replica.refused()
    assert full.message.startswith("users/ann may have 1 cluster in the queue, has 1")
    assert await replica.store.queue.lengths("ann") == (1, 1)  # type: ignore[arg-type]


async def test_users_take_turns(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"clusters": 1}))
    running = await replica.create("zoe")
    anns = [await replica.create("ann") for _ in range(3)]
    bobs = [await replica.create("bob") for _ in range(2)]
    order = list(await replica.store.queue.waiting(DEPLOYMENT))
    assert order == [cluster.id for cluster in (anns[0], bobs[0], anns[1], bobs[1], anns[2])]
    await replica.end(running)
    await replica.serving.step()
    assert await replica.waits(anns[0], bobs[0]) == [False, True]
    # Who comes now has the turn of those who have been admitted least lately.
    eve = await replica.create("eve")
    order = list(await replica.store.queue.waiting(DEPLOYMENT))
    assert order == [cluster.id for cluster in (bobs[0], anns[1], bobs[1], eve, anns[2])]


async def test_a_group_may_have_more_turns(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"clusters": 1}, queue={"weights": {"staff": 2, "guests": 0.5}}))
    await replica.create("zoe")
    anns = [await replica.create("ann", groups=["staff", "guests"]) for _ in range(4)]
    bobs = [await replica.create("bob") for _ in range(2)]
    order = list(await replica.store.queue.waiting(DEPLOYMENT))
    assert order == [cluster.id for cluster in (anns[0], anns[1], bobs[0], anns[2], anns[3], bobs[1])]


async def test_who_waits_for_their_own_limit_is_in_nobodys_way(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"clusters": 1}, deployment={"clusters": 3}))
    anns = [await replica.create("ann") for _ in range(3)]
    bob = await replica.create("bob")
    eve = await replica.create("eve")
    assert await replica.waits(*anns, bob, eve) == [False, True, True, False, False]
    dan = await replica.create("dan")
    await replica.end(bob)
    await replica.serving.step()
    assert await replica.waits(dan, anns[1]) == [False, True]


async def test_small_ones_overtake_a_large_one_only_while_it_is_young(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"workers": 10}, queue={"patience": 300}))
    first, second = await replica.create("ann", 5), await replica.create("ann", 4)
    large = await replica.create("bob", 9)
    small = await replica.create("eve", 1)
    assert await replica.waits(large, small) == [True, False]
    await replica.end(small)
    # Once it has waited for long, whatever becomes free is kept for it.
    replica.admission.follow(policy(deployment={"workers": 10}, queue={"patience": 0}))
    await replica.serving.step()
    late = await replica.create("eve", 1)
    assert await replica.waits(large, late) == [True, True]
    told = (await replica.store.reads.get(late.id)).queued
    assert told is not None
    assert (told.used, told.most) == (10, 10)  # "10 workers, of which 18 are used" helps nobody
    await replica.end(first)
    await replica.serving.step()
    assert await replica.waits(large, late) == [True, True]
    await replica.end(second)
    await replica.serving.step()
    assert await replica.waits(large, late) == [False, False]
    assert (await replica.store.usage(DEPLOYMENT))["workers"] == 10


async def test_room_is_not_kept_for_who_is_over_their_own_limit(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"workers": 4}, deployment={"workers": 10}, queue={"patience": 0}))
    await replica.create("ann", 4)
    waiting = await replica.create("ann", 4)
    await replica.serving.step()
    others = [await replica.create(name, 3) for name in ("bob", "eve")]
    assert await replica.waits(waiting, *others) == [True, False, False]


@pytest.mark.parametrize("comes", ["a cluster", "a worker"])
async def test_who_comes_as_the_queue_was_looked_through_gets_room(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    replica = Replica(redis, policy(deployment={"workers": 10}, on_scale="queue"))
    first, second = await replica.create("ann", 4), await replica.create("zoe", 4)
    large = await replica.create("bob", 9)
    await replica.end(first)
    waiting, late = replica.store.queue.waiting, list[Cluster]()

    async def looked_through(subject: str, after: float, number: int) -> dict[ClusterId, float]:
        found = await waiting(subject, after, number)
        if not found and not late:  # what comes now comes behind bob's, when all have been tried
            late.append(await (replica.create("eve", 1) if comes == "a cluster" else replica.scale(second, 5)))
        return found

    monkeypatch.setattr(replica.store.queue, "waiting", looked_through)
    await replica.serving.serve()
    assert await replica.waits(large, *late) == [True, False]
    assert await replica.workers(*late) == [1 if comes == "a cluster" else 5]


async def test_who_stops_waiting_as_the_queue_is_looked_through_hides_nobody(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_BATCH", 2)
    replica = Replica(redis, policy(deployment={"workers": 10}))
    first, _ = await replica.create("ann", 4), await replica.create("zoe", 6)
    large = [await replica.create(name, 9) for name in ("bob", "dan")]
    small = await replica.create("eve", 1)
    await replica.end(first)
    admit, stopped = replica.store.records.admit, list[Cluster]()

    async def meanwhile(seen: Cluster, **options: Any) -> Any:
        answer = await admit(seen, **options)
        if seen.id == large[1].id and not stopped:
            stopped.append(large[0])
            await replica.end(large[0])
        return answer

    monkeypatch.setattr(replica.store.records, "admit", meanwhile)
    await replica.serving.serve()
    assert await replica.waits(large[1], small) == [True, False]


async def test_who_stops_waiting_leaves_nothing(redis: Redis, keys: Keys) -> None:
    replica = Replica(redis, policy(deployment={"workers": 10}, queue={"patience": 0}))
    running = await replica.create("ann", 10)
    waiting = [await replica.create("bob", 9), await replica.create("eve", 1)]
    await replica.serving.step()
    for cluster in waiting:
        await replica.end(cluster)
    await replica.end(running)
    await replica.serving.serve()
    left = {key.decode().removeprefix(keys.prefix) async for key in redis.scan_iter()}
    assert {key for key in left if key.startswith(("queue", "usage"))} <= {"queue-order"}
    assert await replica.store.usage("users/bob") == Demand()


async def test_a_lowered_limit_ends_the_hope_of_who_asks_for_more(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"workers": 10}))
    await replica.create("ann", 10)
    large, small = await replica.create("bob", 9), await replica.create("eve", 2)
    lowered = policy(deployment={"workers": 8})
    replica.admission.follow(lowered)
    replica.serving.follow(lowered)
    await replica.serving.step()
    never = await replica.store.reads.get(large.id)
    assert never.queued is not None
    assert (never.queued.never, never.queued.most, never.queued.asked) == (True, 8, 9)
    still = await replica.store.reads.get(small.id)
    assert still.queued is not None
    assert not still.queued.never


@pytest.mark.parametrize("lost", [None, 1, 2, 3, 4])
async def test_a_raised_limit_admits_wherever_the_store_goes_away(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, lost: int | None
) -> None:
    monkeypatch.setattr(queue, "LOOK_SECONDS", 0)
    replica = Replica(redis, policy(deployment={"workers": 10}))
    await replica.create("ann", 10)
    waiting = await replica.create("bob", 9)
    raised = policy(deployment={"workers": 20})
    replica.admission.follow(raised)
    replica.serving.follow(raised)
    if lost is not None:
        with monkeypatch.context() as losing:
            lose_connection(redis, losing, command=lost, executed=False)
            with suppress(StoreUnavailable):
                await replica.serving.step()
    await replica.serving.step()
    assert await replica.waits(waiting) == [False]


async def test_a_replica_that_dies_in_the_middle_leaves_its_work_to_the_others(
    redis: Redis, fence: Fence, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = fence
    monkeypatch.setattr(queue, "LOOK_SECONDS", 60)
    replica = Replica(redis, policy(deployment={"clusters": 1}))
    running, waiting = await replica.create("ann"), await replica.create("bob")
    await replica.end(running)
    taken = await replica.store.queue.next_freed()  # and then it is killed
    assert taken is not None
    other = Replica(redis, policy(deployment={"clusters": 1}))
    await other.load()
    assert await other.store.queue.next_freed() is None  # the first one is looking through it
    await other.serving.step()  # what is left is repaired
    assert await other.waits(waiting) == [False]


async def test_places_are_told_when_they_change(redis: Redis, store: Store) -> None:
    _ = store
    replica = Replica(redis, policy(deployment={"clusters": 1}))
    running = await replica.create("ann")
    waiting = [await replica.create(name) for name in ("bob", "dan", "eve")]
    places = [replica.order.place(cluster) for cluster in waiting]
    assert [place.before for place in places if place] == [0, 1, 2]
    await replica.end(running)
    await replica.serving.step()
    assert replica.told == [waiting[1].id, waiting[2].id]
    assert replica.order.place(waiting[0]) is None
    place = replica.order.place(waiting[1])
    assert place is not None
    assert place.before == 0


async def test_whom_a_budget_refuses_is_not_admitted_and_holds_up_nobody(redis: Redis) -> None:
    replica = Replica(redis, policy(deployment={"clusters": 2}))
    running = [await replica.create("zoe") for _ in range(2)]
    anns = [await replica.create("ann") for _ in range(3)]
    bob = await replica.create("bob")
    replica.over_budget.add("ann")
    for cluster in running:
        await replica.end(cluster)
    await replica.serving.step()
    assert await replica.waits(*anns, bob) == [True, True, True, False]
    assert set(replica.told) >= {cluster.id for cluster in anns}  # for their plans to end them
    replica.over_budget.clear()
    await replica.store.queue.wake([DEPLOYMENT])
    await replica.serving.step()
    assert await replica.waits(*anns) == [False, True, True]


async def test_subjects_are_looked_through_in_the_order_in_which_they_were_woken(redis: Redis) -> None:
    queue = Replica(redis, policy()).store.queue
    subjects = [f"clusters/{n:x}" for n in range(1000, 0, -1)]
    await queue.wake(subjects)
    found: list[str] = []
    freed = await queue.next_freed()
    while freed:
        found.append(freed.subject)
        freed = await queue.next_freed(freed)
    assert found == subjects


async def test_whose_room_was_freed_first_is_looked_through_first(redis: Redis) -> None:
    replica = Replica(redis, policy(user={"clusters": 1}))
    users = [f"user{n}" for n in range(20, 10, -1)]
    running = [await replica.create(user) for user in users]
    for user in users:
        await replica.create(user)
    for cluster in running:
        await replica.end(cluster)
    found: list[str] = []
    freed = await replica.store.queue.next_freed()
    while freed:
        found.append(freed.subject)
        freed = await replica.store.queue.next_freed(freed)
    assert found == [f"users/{user}" for user in users]


async def test_a_record_that_cannot_be_read_holds_up_nobody(redis: Redis, keys: Keys) -> None:
    replica = Replica(redis, policy(deployment={"clusters": 1}))
    running = await replica.create("zoe")
    damaged = await replica.create("ann")
    bob = await replica.create("bob")
    await replica.end(running)
    await overwrite(redis, keys, damaged.id, spec=b"\xc1")
    other = Replica(redis, policy(deployment={"clusters": 1}))
    async with asyncio.timeout(60):
        await other.serving.serve()
    assert await replica.waits(bob) == [False]
