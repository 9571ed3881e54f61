"""Schedulers are numbered without any clock, and the token of a launch enrols one process."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis
from tests.controller.builders import running_cluster
from tests.controller.emptying import empty

from headrace.errors import TokenInvalid
from headrace_chassis.identity.caller import AgentCaller
from headrace_controller.agents.agent_events import AgentEvents
from headrace_controller.agents.launch_claims import LaunchClaims
from headrace_controller.model import Cluster
from headrace_controller.store import Store

CLUSTER = running_cluster()


@pytest.fixture
def claims(store: Store) -> LaunchClaims:
    return LaunchClaims(store.enrolments, AgentEvents(store, clock=lambda: 0.0), token_seconds=60)


def reported(session: int) -> Cluster:
    return replace(CLUSTER, report=replace(CLUSTER.report, session=session))


async def test_each_scheduler_has_a_greater_number(claims: LaunchClaims) -> None:
    numbers = [await claims.number_scheduler(reported(0)) for _ in range(3)]
    assert numbers == [1, 2, 3]
    assert await claims.number_scheduler(reported((3 << 32) + 7)) > 3


async def test_an_emptied_store_counts_on_after_what_is_reported(claims: LaunchClaims, redis: Redis) -> None:
    survivor = (await claims.number_scheduler(reported(0)) << 32) + 7
    await empty(redis)
    assert await claims.number_scheduler(reported(survivor)) << 32 > survivor


async def test_sessions_that_a_clock_numbered_are_older_than_all_later_ones(claims: LaunchClaims) -> None:
    by_time = 1_795_658_252_244_000_000
    number = await claims.number_scheduler(reported(by_time)) << 32
    assert by_time < number < 2**62


async def test_a_launch_is_claimed_by_one_nonce(claims: LaunchClaims, redis: Redis) -> None:
    caller = AgentCaller(CLUSTER.id, "scheduler", "launch-1")
    await claims.claim(caller, CLUSTER, "first")
    await claims.claim(caller, CLUSTER, "first")
    with pytest.raises(TokenInvalid):
        await claims.claim(caller, CLUSTER, "second")
    await claims.claim(replace(caller, launch="launch-2"), CLUSTER, "second")
    assert all([3600 < await redis.ttl(key) <= 3660 for key in await redis.keys("*enrolled*")])
