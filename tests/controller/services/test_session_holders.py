"""An agent whose replica was killed is away, although nobody could say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import grpc
import pytest
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.services.fake_agents import SchedulerAgent
from tests.controller.services.killable import killable
from tests.controller.services.running import DEPLOYMENT, Site, User

from headrace.v1 import cluster_pb2
from headrace_chassis.redis.keys import Prefix
from headrace_chassis.redis.leases import ShardLeases
from headrace_controller.keys import Keys
from headrace_controller.model import Report
from headrace_controller.reconciling.session_holders import SessionHolders
from headrace_controller.store import Store


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
    await eventually(lambda: before.ended_with is grpc.StatusCode.ABORTED, within=15)
    return agent, task


async def reachable(user: User, name: str) -> tuple[bool, str]:
    conditions = (await user.get(name)).status.conditions
    return next((c.holds, c.reason) for c in conditions if c.type == "Reachable")


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
        assert await reachable(ann, made.name) == (True, "")
        agent.closing = True
        other.kill()
        other.wait()
        await task
    if started_again:
        await site.replica("b", scheduler_lost_seconds=1)  # under the same name, but it holds no session

    async def away() -> bool:
        return await reachable(ann, made.name) == (False, "AgentAway")

    await eventually(away, within=15)
    ended = await ann.until(made.name, "FAILED")
    assert ended.status.reason == cluster_pb2.END_REASON_SCHEDULER_LOST


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

    async def is_reachable(holds: bool) -> bool:
        return (await reachable(ann, made.name))[0] is holds

    await eventually(lambda: is_reachable(holds=False), within=15)
    agent.closing = False
    site.agents.endpoints[:] = [one.endpoint]
    moving.append(asyncio.create_task(agent.run()))
    await eventually(lambda: is_reachable(holds=True))
    await ann.scale(made.name, 1)
    assert (await ann.until(made.name, "RUNNING")).status.phase == cluster_pb2.PHASE_RUNNING


async def test_a_replica_is_gone_a_while_after_it_was_missed_and_comes_back(redis: Redis) -> None:
    clock, missed = Clock(), list[str]()
    holders = new_holders(redis, clock, missed.append)
    report = Report(session=1, connected=True, holder="b/1")
    leases = ShardLeases(redis, Prefix(DEPLOYMENT), "b/1", ttl=timedelta(seconds=60))

    gone_from = await holders.gone_from(report)
    assert gone_from is not None
    assert gone_from > clock.now  # it may only have been late to say that it lives
    clock.now += 1000
    assert await holders.gone_from(report) == gone_from
    assert missed == ["b/1"]  # once

    await leases.tick()
    assert await holders.gone_from(report) is None
    await leases.release()
    await holders.look()
    assert await holders.gone_from(report) is None  # it said that it would live for longer
    assert missed == ["b/1"]
    clock.now += 60
    await holders.look()
    assert missed == ["b/1", "b/1"]
    gone_from = await holders.gone_from(report)
    assert gone_from is not None
    assert gone_from > clock.now  # since it was noticed, not since it happened
    await holders.look()
    assert missed == ["b/1", "b/1"]


@pytest.mark.parametrize(
    "report",
    [
        Report(session=1, connected=False, holder="b/1"),
        Report(session=1, connected=True, holder="me"),
        Report(session=1, connected=True),  # from before holders were noted
    ],
)
async def test_where_nobody_else_holds_a_session_nobody_is_missed(redis: Redis, report: Report) -> None:
    assert await new_holders(redis, Clock(), lambda _holder: None).gone_from(report) is None


def new_holders(redis: Redis, clock: Clock, missed: Callable[[str], None]) -> SessionHolders:
    return SessionHolders(Store(redis, Keys(Prefix(DEPLOYMENT))), "me", missed=missed, clock=clock)
