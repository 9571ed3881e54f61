"""An agent whose replica was killed is away, although nobody could say so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.agents.fake_agents import SchedulerAgent
from tests.controller.builders import running_cluster
from tests.controller.killable import killable
from tests.controller.running import Site, User

from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.redis.leases import ShardLeases
from headrace_controller.keys import Keys
from headrace_controller.model import Cluster
from headrace_controller.reconciling.replica_liveness import ReplicaLiveness
from headrace_controller.store import Store
from headrace_controller.store.replicas import Replicas


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def moving(site: Site) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Agents that a test has moved; they leave at its end."""
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def move(
    site: Site, name: str, endpoint: str, eventually: Eventually
) -> tuple[SchedulerAgent, asyncio.Task[None]]:
    """Has the agent's session held by the replica there; returns when the one before has heard of it."""
    cluster = name.removeprefix("clusters/")
    before = site.agents.schedulers[cluster]
    agent = SchedulerAgent(site.agents, site.machine.specs[cluster, "scheduler"])
    agent.address = before.address
    site.agents.endpoints[:] = [endpoint]
    task = asyncio.create_task(agent.run())
    await eventually(lambda: before.ended_with is grpc.StatusCode.ABORTED, within=60)
    return agent, task


async def reachable(user: User, name: str) -> tuple[str, str]:
    """Status and reason of the condition."""
    conditions = (await user.get(name)).status.conditions
    found = next(c for c in conditions if c.type == cluster_pb2.CONDITION_TYPE_REACHABLE)
    return cluster_pb2.ConditionStatus.Name(found.status).removeprefix("CONDITION_STATUS_"), found.reason


@pytest.mark.parametrize("started_again", [False, True])
async def test_an_agent_that_never_comes_back_from_a_killed_replica_is_lost(
    site: Site, moving: list[asyncio.Task[None]], eventually: Eventually, *, started_again: bool
) -> None:
    ann = await (await site.replica("a", scheduler_lost_seconds=1)).user("ann")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    with killable(site.settings("b", scheduler_lost_seconds=1)) as other:
        agent, task = await move(site, made.name, site.settings("b").listen, eventually)
        moving.append(task)
        assert await reachable(ann, made.name) == ("TRUE", "")
        agent.closing = True
        other.kill()
        other.wait()
        await task
    if started_again:
        await site.replica("b", scheduler_lost_seconds=1)  # under the same name, but it holds no session

    ended = await ann.until(made.name, "FAILED")
    assert ended.status.reason == cluster_pb2.END_REASON_SCHEDULER_LOST
    told = await ann.call("ListClusterEvents", pb.ListClusterEventsRequest(parent=made.name))
    assert cluster_pb2.EVENT_TYPE_SCHEDULER_UNREACHABLE in [event.type for event in told.cluster_events]


async def test_an_agent_that_comes_back_from_a_killed_replica_late_is_reachable_again(
    site: Site, moving: list[asyncio.Task[None]], eventually: Eventually
) -> None:
    one = await site.replica("a")
    ann = await one.user("ann")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    with killable(site.settings("b")) as other:
        agent, task = await move(site, made.name, site.settings("b").listen, eventually)
        moving.append(task)
        agent.closing = True
        other.kill()
        other.wait()
        await task

    async def is_reachable(status: str) -> bool:
        return (await reachable(ann, made.name))[0] == status

    await eventually(lambda: is_reachable("UNKNOWN"), within=60)
    agent.closing = False
    site.agents.endpoints[:] = [one.endpoint]
    moving.append(asyncio.create_task(agent.run()))
    await eventually(lambda: is_reachable("TRUE"))
    await ann.scale(made.name, 1)
    assert (await ann.until(made.name, "RUNNING")).status.phase == cluster_pb2.PHASE_RUNNING


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def liveness(redis: Redis, keys: Keys, clock: Clock, woken: list[str]) -> ReplicaLiveness:
    return ReplicaLiveness(Store(redis, keys).replicas, "me", wake=woken.append, clock=clock)


def held_by(holder: str, name: str = "c1", **report: Any) -> Cluster:
    return running_cluster(name=name, report={"holder": holder, **report})


async def test_a_replica_is_gone_a_while_after_it_was_missed_and_comes_back(
    redis: Redis, keys: Keys, liveness: ReplicaLiveness, clock: Clock, woken: list[str]
) -> None:
    one, two, own = held_by("b/1"), held_by("b/1", "c2"), held_by("me", "c3")
    for cluster in (one, two, own):
        liveness.added(cluster)
    assert liveness.gone_from(one.report) is None  # until it was asked for
    await liveness.check()
    assert liveness.gone_from(one.report) is None  # it may only be late with its sign of life
    missed, clock.now = clock.now, clock.now + 1000
    await liveness.check()
    gone_from = liveness.gone_from(one.report)
    assert gone_from is not None
    assert missed < gone_from < clock.now
    await liveness.check()
    assert liveness.gone_from(two.report) == gone_from
    assert sorted(woken) == ["c1", "c2"]  # once, and nobody else
    assert liveness.gone_from(own.report) is None

    leases = ShardLeases(redis, keys.prefix, "b/1", ttl=timedelta(seconds=60))
    await leases.tick()
    await liveness.check()
    assert liveness.gone_from(one.report) is None
    assert sorted(woken) == ["c1", "c1", "c2", "c2"]  # what was planned without their agents is planned again
    await leases.release()
    await liveness.check()
    assert liveness.gone_from(one.report) is None  # its last sign of life has not expired
    clock.now += 60
    await liveness.check()
    noticed, clock.now = clock.now, clock.now + 60
    await liveness.check()
    gone_from = liveness.gone_from(one.report)
    assert gone_from is not None
    assert gone_from > noticed  # since it was noticed, not since it happened
    assert sorted(woken) == ["c1"] * 3 + ["c2"] * 3


@pytest.mark.parametrize("set_back", ["Redis' clock", "this replica's clock"])
async def test_a_clock_that_is_set_back_keeps_no_dead_replica_alive(
    redis: Redis, keys: Keys, liveness: ReplicaLiveness, clock: Clock, woken: list[str], set_back: str
) -> None:
    seconds = 7200 if set_back == "Redis' clock" else 3
    await redis.zadd(keys.replicas(), {"b/1": (time.time() + seconds) * 1000})
    cluster = held_by("b/1")
    liveness.added(cluster)
    await liveness.check()
    await redis.delete(keys.replicas())
    clock.now += 4 if set_back == "Redis' clock" else -7200
    await liveness.check()
    clock.now += 4
    await liveness.check()
    assert liveness.gone_from(cluster.report) is not None
    assert woken == ["c1"]


async def test_while_agents_return_the_others_are_waited_for(
    liveness: ReplicaLiveness, clock: Clock, woken: list[str]
) -> None:
    clusters = [held_by("b/1", f"c{n}") for n in range(100)]
    for cluster in clusters:
        liveness.added(cluster)
    await liveness.check()
    for cluster in clusters[:5]:
        clock.now += 2
        liveness.updated(cluster, held_by("me", cluster.id))
        await liveness.check()
    assert liveness.gone_from(clusters[-1].report) is None
    for cluster in clusters[5:50]:
        clock.now += 2
        liveness.updated(cluster, held_by("me", cluster.id))
        await liveness.check()
    assert liveness.gone_from(clusters[-1].report) is not None  # not for ever
    assert "c99" in woken


async def test_a_replica_whose_last_agent_returns_while_it_is_asked_for_is_not_missed(
    liveness: ReplicaLiveness, clock: Clock, woken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    live_for, cluster = Replicas.live_for, held_by("b/1")

    async def late(replicas: Replicas, holders: Sequence[str]) -> list[float]:
        answer = await live_for(replicas, holders)
        liveness.updated(cluster, held_by("me"))
        return answer

    liveness.added(cluster)
    with monkeypatch.context() as delayed:
        delayed.setattr(Replicas, "live_for", late)
        await liveness.check()
    clock.now += 1000
    assert liveness._pause() > 1  # pyright: ignore[reportPrivateUsage] it is not asked for again and again
    liveness.added(cluster)
    await liveness.check()
    assert liveness.gone_from(cluster.report) is None  # it is waited for, as any that is missed now
    assert woken == []


async def test_an_agent_that_returns_after_its_replica_counted_as_gone_is_planned_for(
    liveness: ReplicaLiveness, clock: Clock, woken: list[str]
) -> None:
    one, two = held_by("b/1"), held_by("b/1", "c2")
    liveness.added(one)
    liveness.added(two)
    await liveness.check()
    clock.now += 1000
    await liveness.check()
    woken.clear()
    liveness.updated(one, held_by("me"))
    assert woken == ["c1"]


async def test_a_replica_without_sessions_is_not_asked_for(
    redis: Redis, liveness: ReplicaLiveness, clock: Clock, woken: list[str]
) -> None:
    for cluster in (held_by("me"), held_by(""), held_by("b/1", connected=False)):
        liveness.added(cluster)
    other = held_by("b/1", "c2")
    liveness.added(other)
    liveness.updated(other, held_by("b/2", "c2"))
    liveness.updated(held_by("b/2", "c2"), held_by("b/2", "c2", connected=False))
    liveness.removed(held_by("me"))
    clock.now += 1000
    before = await redis.info("commandstats")
    await liveness.check()
    after = await redis.info("commandstats")
    assert "cmdstat_zmscore" not in after or after["cmdstat_zmscore"] == before["cmdstat_zmscore"]
    assert woken == []
