"""Repair of what events have missed, and what a quiet deployment costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis.asyncio import Redis
from tests.backends.fake_machine import FakeMachine
from tests.conftest import Eventually
from tests.controller.running import DEPLOYMENT, Site

from headrace.v1 import cluster_pb2
from headrace_chassis.redis.keys import Prefix
from headrace_controller.backends.process import ProcessState, ProcessStatus
from headrace_controller.keys import Keys
from headrace_controller.model import ClusterId, Demand
from headrace_controller.queueing import recharging
from headrace_controller.store import Store


class SilentMachine(FakeMachine):
    """Tells nobody of some changes."""

    def __init__(self) -> None:
        super().__init__()
        self.silent = False

    def set(self, status: ProcessStatus) -> None:
        if self.silent:
            self.statuses[status.key.cluster, status.key.process] = status
        else:
            super().set(status)


async def test_a_change_that_no_event_has_told_is_found(site: Site, redis: Redis) -> None:
    ann = await (await site.replica(resync_seconds=0.3)).user("ann")
    made = await ann.create()
    running = await ann.until(made.name, "RUNNING")
    keys, cluster = Keys(Prefix(DEPLOYMENT)), ClusterId(made.name.removeprefix("clusters/"))
    # A spec that was written without an entry in the change stream.
    seen = await Store(redis, keys).reads.get(cluster)
    other = Keys(Prefix("elsewhere"))
    await redis.copy(keys.record(cluster), other.record(cluster))
    await Store(redis, other).records.change(
        seen,
        lambda record: replace(record, spec=replace(record.spec, stop=True)),
        demand=lambda _: Demand(clusters=1),
        limits={},
    )
    await redis.rename(other.record(cluster), keys.record(cluster))
    ended = await ann.until(made.name, "STOPPED", within=60)
    assert ended.generation == running.generation + 1


async def test_a_process_that_exited_unnoticed_is_found(site: Site) -> None:
    machine = SilentMachine()
    site.machine = site.agents.machine = machine
    machine.on_start, machine.on_exit = site.agents.started, site.agents.exited
    ann = await (await site.replica(resync_seconds=0.3)).user("ann")
    made = await ann.create()
    await ann.until(made.name, "RUNNING")
    cluster = made.name.removeprefix("clusters/")
    machine.silent = True
    status = machine.statuses[cluster, "scheduler"]
    machine.set(replace(status, state=ProcessState.EXITED, exit_code=1))
    machine.silent = False
    ended = await ann.until(made.name, "FAILED", within=60)
    assert ended.status.reason == cluster_pb2.END_REASON_SCHEDULER_LOST


async def commands(redis: Redis) -> dict[str, int]:
    """How often each command was called, also by scripts."""
    stats = await redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}


async def test_a_quiet_deployment_asks_nothing_for_each_cluster(
    site: Site, redis: Redis, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recharging, "_AGAIN_SECONDS", 0.1)  # once after the start, all are looked at again
    ann = await (await site.replica()).user("ann")
    costs: list[dict[str, int]] = []
    for count in (1, 40):
        made = [await ann.create() for _ in range(count)]
        for cluster in made:
            await ann.until(cluster.name, "RUNNING")

        async def rounds(at_least: int) -> bool:
            return (await commands(redis)).get("pexpire", 0) >= at_least

        # Of the four leases, which are renewed each second: until what follows a creation is over, then for longer than
        # the 5 s after which some reads come again.
        for renewals in (8, 28):
            await redis.config_resetstat()
            await eventually(lambda renewals=renewals: rounds(renewals), within=60)
        costs.append(await commands(redis))
    few, many = costs
    del many["info"]  # asked by the test, as often as it likes
    # Some reads come by the clock, and a window of renewals that are late is longer.
    assert all(many[name] <= few.get(name, 0) + 20 for name in many), (few, many)
