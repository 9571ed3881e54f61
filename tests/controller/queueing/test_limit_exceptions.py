"""Limits that admins set for a while: when they are in force, and what follows when they begin and end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import time
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.controller.queueing.waiting import Replica, policy

from headrace.errors import InvalidRequest
from headrace.v1.enums import EventType
from headrace_controller import resources
from headrace_controller.keys import Keys
from headrace_controller.model import LimitException, Limits, UserId
from headrace_controller.queueing.limit_exceptions import LimitExceptions
from headrace_controller.store import Store
from headrace_controller.store.limit_exceptions import MOST_EXCEPTIONS

pytestmark = pytest.mark.usefixtures("fence")


def exception(subject: str = "users/ann", **changes: Any) -> LimitException:
    now = time()
    usual = LimitException(
        subject=subject, resource=resources.WORKERS, bound=20, begun=now, ends=now + 60, by=UserId("root")
    )
    return replace(usual, **changes)


async def test_only_what_is_named_is_replaced_and_only_until_it_ends(store: Store) -> None:
    now = time()
    exceptions = LimitExceptions(store, clock=lambda: now)
    set_ = exception(ends=now + 60)
    await exceptions.add([set_])
    limits = Limits(workers=10, clusters=3)
    assert exceptions.apply("users/ann", limits) == {"workers": 20, "clusters": 3}
    assert exceptions.apply("users/bob", limits) == limits
    assert exceptions.apply("groups/ann", limits) == limits
    assert exceptions.all() == [set_]
    now += 60
    assert exceptions.apply("users/ann", limits) == limits == {"workers": 10, "clusters": 3}
    assert exceptions.all() == []


async def test_later_ones_replace_earlier_ones_and_ended_ones_are_forgotten(store: Store) -> None:
    exceptions, others = LimitExceptions(store, clock=time), LimitExceptions(store, clock=time)
    ended = exception("groups/lab", ends=time() - 1)
    await store.limit_exceptions.change(0, add=[ended])
    assert await store.limit_exceptions.load() == [ended]
    first, second, other = exception(bound=1), exception(bound=2, reason="ä deadline"), exception("users/a b/c")
    await exceptions.add([first, other])
    await others.add([second])
    assert sorted(await store.limit_exceptions.load(), key=lambda one: one.subject) == [other, second]
    await others.remove([second])
    await exceptions.load()
    assert exceptions.all() == [other]


async def test_their_number_is_bounded(store: Store) -> None:
    exceptions = LimitExceptions(store, clock=time)
    many = [exception(f"users/u{n:04}") for n in range(MOST_EXCEPTIONS)]
    await exceptions.add(many)
    with pytest.raises(InvalidRequest, match="at most 1000 exceptions, and there are 1000"):
        await exceptions.add([exception()])
    assert exceptions.of("users/ann") == {}
    await exceptions.add([exception("users/u0000", bound=3)])  # instead of the one that there is
    assert [one.bound for one in exceptions.all()[:2]] == [3, 20]


async def test_one_that_cannot_be_read_takes_nothing_from_others(store: Store, redis: Redis, keys: Keys) -> None:
    exceptions = LimitExceptions(store, clock=time)
    set_ = exception()
    await exceptions.add([set_])
    for n, content in enumerate((b"\xc1", b"\x01", b"\x81\xa4ends\xcb\x7f\xef\xff\xff\xff\xff\xff\xff")):
        await redis.hset(keys.limit_exceptions(), f"workers users/{n}", content)
    await exceptions.load()
    assert exceptions.all() == [set_]
    await exceptions.add([exception(bound=3)])
    assert [one.bound for one in exceptions.all()] == [3]


async def test_listeners_hear_of_another_replicas_changes_and_of_the_end(redis: Redis, store: Store) -> None:
    mirror, told, now = Replica(redis, policy()).mirror, asyncio.Queue[object](), time()
    exceptions = LimitExceptions(store, clock=lambda: now)
    exceptions.on_change(told.put_nowait)
    mirror.changes.on_entry(exceptions.on_entry)
    mirror.read_besides(exceptions.load)
    before = exception("groups/lab")
    await store.limit_exceptions.change(now, add=[before])
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(run()) for run in (mirror.run, exceptions.run)]
        await mirror.ready.wait()
        assert exceptions.all() == [before]
        await told.get()
        await store.limit_exceptions.change(now, add=[exception(ends=now + 0.1)])
        await told.get()
        assert exceptions.of("users/ann")
        now += 0.1  # which it waits for until that has passed
        await told.get()
        assert exceptions.all() == [before]
        for task in running:
            task.cancel()


async def test_a_raised_limit_lets_those_in_who_wait_and_its_end_takes_workers_away(redis: Redis, store: Store) -> None:
    lowered: dict[str, Any] = {"on_lowered": "scale_down", "lowered_grace": 60}
    replica = Replica(redis, policy(user={"workers": 10}, **lowered))
    first, second = await replica.create("ann", 10, created=1), await replica.create("ann", 9, created=2)
    assert second.queued is not None
    await replica.exceptions.add([exception(ends=time() + 3600)])
    await replica.serving.step()
    assert await replica.workers(first, second) == [10, 9]
    await replica.lowering.step()
    replica.later = 3601  # it has ended
    for _ in range(2):
        await replica.lowering.step()
        replica.later += 61
    assert await replica.workers(first, second) == [10, 0]
    events = await store.events.list(second.id)
    told = next(one.message for one in events if one.type is EventType.LIMIT_LOWERED)
    assert "users/ann may have 10 workers, and has 19" in told


async def test_what_binds_everybody_binds_besides(redis: Redis, store: Store) -> None:
    replica = Replica(redis, policy(user={"workers": 2}, groups={"lab": {"workers": 3}}, deployment={"workers": 5}))
    await replica.exceptions.add([exception(bound=100), exception("groups/lab", bound=100)])
    assert (await replica.create("ann", 5, groups=["lab"])).queued is None
    waits = await replica.create("ann", 1, groups=["lab"])
    assert waits.queued is not None
    assert list(await store.queue.waiting("deployment")) == [waits.id]
