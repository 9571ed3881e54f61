"""Two replicas share the work, and one goes on when the other dies."""

from __future__ import annotations

import asyncio

import pytest
from tests.controller.running import Replica, Site

from headrace_chassis.redis.leases import ShardLeases


async def test_two_share_and_serve_alike(site: Site) -> None:
    one, two = await site.replica("a"), await site.replica("b")
    ann_at_one, ann_at_two = await one.user("ann"), await two.user("ann")
    made = await asyncio.gather(*(user.create() for user in (ann_at_one, ann_at_two) for _ in range(6)))
    for n, cluster in enumerate(made):
        reader = (ann_at_two, ann_at_one)[n % 2]
        await reader.until(cluster.name, "RUNNING")
        await reader.scale(cluster.name, 1)
        await reader.until(cluster.name, "RUNNING", running=1)
    assert len(site.machine.starts) == 24  # a scheduler and a worker each, none twice


async def test_when_one_is_killed_the_other_takes_over(site: Site) -> None:
    one, two = await site.replica("a"), await site.replica("b")
    ann = await two.user("ann")
    before = [await ann.create() for _ in range(6)]
    for cluster in before:
        await ann.until(cluster.name, "RUNNING")
    site.connect_proxy(two)
    await kill(site, one)
    after = [await ann.create() for _ in range(6)]
    for cluster in [*before, *after]:
        await ann.scale(cluster.name, 1)
    for cluster in [*before, *after]:
        await ann.until(cluster.name, "RUNNING", running=1, within=60)
    assert len(site.machine.starts) == 24
    sessions = [agent.sessions for agent in site.agents.schedulers.values()]
    assert max(sessions) > 1  # those of the dead one came over


async def test_a_restart_changes_nothing_for_what_runs(site: Site) -> None:
    one = await site.replica("a")
    ann = await one.user("ann")
    made = await ann.create()
    await ann.scale(made.name, 2)
    await ann.until(made.name, "RUNNING", running=2)
    await site.stop(one)
    site.machine.exit(made.name.removeprefix("clusters/"), site.machine.running()[0])
    two = await site.replica("b")
    site.connect_proxy(two)
    ann = await two.user("ann")
    await ann.scale(made.name, 3)
    await ann.until(made.name, "RUNNING", running=3)
    assert site.machine.starts.count((made.name.removeprefix("clusters/"), "scheduler")) == 1


async def kill(site: Site, replica: Replica) -> None:
    """Ends a replica as SIGKILL does: its leases stay until they run out."""

    async def keep(_: ShardLeases) -> None:
        return

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardLeases, "release", keep)
        await site.stop(replica)
