"""What replicas know of budgets: a cluster that has just ended or changed counts before anything is read again."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Redis
from tests.conftest import Eventually
from tests.controller.builders import new_cluster
from tests.controller.conftest import Recorder
from tests.controller.cuts import lose_connection

from headrace.errors import QuotaExceeded, StoreUnavailable
from headrace.v1.enums import EventType
from headrace_controller.mirror import ClusterMirror
from headrace_controller.model import Cluster, Demand, Phase, Status
from headrace_controller.policy.file import PolicyFile
from headrace_controller.policy.sections import Budget, Budgets
from headrace_controller.store import Fence, Store
from headrace_controller.usage import budgets
from headrace_controller.usage.budgets import BudgetWatch

POLICY = PolicyFile(budgets=Budgets(user=[Budget(per="month", core_hours=100)]))
LARGE = Demand(clusters=1, cores_milli=6_000_000)  # uses the budget up in a minute
HUGE = Demand(clusters=1, cores_milli=2**34)  # uses the budget up in 21 ms
ONE = Demand(clusters=1, cores_milli=1000)


class Watching:
    """A replica's mirror and its watch."""

    def __init__(self, store: Store) -> None:
        self.mirror = ClusterMirror(store)
        self.watch = BudgetWatch(
            store,
            self.mirror,
            policy=lambda: POLICY,
            own=lambda _: True,
            wake=lambda _cluster, _seconds: None,
            clock=time.time,
        )
        self.mirror.connect(self.watch)

    def refuses(self, cluster: Cluster, demand: Demand) -> bool:
        try:
            self.watch.check_growth(cluster, demand)
        except QuotaExceeded:
            return True
        return False


@pytest.fixture
def watching(store: Store) -> Watching:
    return Watching(store)


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "shrinks"])
async def test_what_a_cluster_used_counts_at_once_when_it_ends_or_shrinks(
    store: Store, record: Recorder, fence: Fence, watching: Watching, eventually: Eventually, ends: bool
) -> None:
    huge, small = await record(new_cluster(), demand=HUGE), await record(new_cluster(), demand=ONE)
    for cluster in (huge, small):
        watching.mirror.apply(cluster)
    await watching.watch.known(small.owner, small.groups)

    async def used_up() -> bool:
        return watching.refuses(new_cluster(), ONE)

    await eventually(used_up)
    if ends:
        ended = replace(huge, status=Status(phase=Phase.STOPPED, ended=time.time()))
        changed = await store.records.save_status(huge, ended, fence=fence)
    else:
        spec = replace(huge.spec, lifetime=5.0)
        changed = await store.records.change(
            huge, lambda seen: replace(seen, spec=spec), demand=lambda _: ONE, limits={}
        )
    watching.mirror.apply(changed)
    await watching.watch.known(small.owner, small.groups)
    assert watching.refuses(new_cluster(), ONE)
    assert watching.refuses(small, Demand(clusters=1, cores_milli=2000))
    assert not watching.refuses(small, ONE)


async def test_a_cluster_that_ended_before_it_was_known_counts(
    store: Store, record: Recorder, fence: Fence, watching: Watching, eventually: Eventually
) -> None:
    other = Watching(store)
    await watching.watch.known(new_cluster().owner, ())
    huge = await record(new_cluster(), demand=HUGE)
    other.mirror.apply(huge)
    await other.watch.known(huge.owner, ())

    async def used_up() -> bool:
        return other.refuses(new_cluster(), ONE)

    await eventually(used_up)
    ended = replace(huge, status=Status(phase=Phase.STOPPED, ended=time.time()))
    watching.mirror.apply(await store.records.save_status(huge, ended, fence=fence))  # read from the stream at once
    await watching.watch.known(huge.owner, ())
    assert watching.refuses(new_cluster(), ONE)


@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("command", [1, 2, 3])
async def test_a_cluster_is_warned_once_wherever_the_store_goes_away(
    redis: Redis,
    store: Store,
    record: Recorder,
    watching: Watching,
    eventually: Eventually,
    command: int,
    *,
    executed: bool,
) -> None:
    huge = await record(new_cluster(), demand=HUGE)
    watching.mirror.apply(huge)
    await watching.watch.known(huge.owner, huge.groups)

    async def used_up() -> bool:
        return watching.refuses(new_cluster(), ONE)

    await eventually(used_up)
    with pytest.MonkeyPatch.context() as monkeypatch:
        lose_connection(redis, monkeypatch, command=command, executed=executed)
        with suppress(StoreUnavailable):
            await watching.watch.refresh()
    for _ in range(2):
        await watching.watch.refresh()
    told = [event.type for event in await store.events.list(huge.id)]
    assert told.count(EventType.BUDGET_USED_UP) == 1


async def test_time_in_which_the_store_does_not_answer_is_not_used(
    store: Store, record: Recorder, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals, now = store.used.totals, time.monotonic()

    async def late(*asked: Any) -> Any:
        nonlocal now
        now += 600
        return await totals(*asked)

    monkeypatch.setattr(store.used, "totals", late)
    monkeypatch.setattr(budgets, "time", SimpleNamespace(monotonic=lambda: now))
    large = await record(new_cluster(), demand=LARGE)
    watching.mirror.apply(large)
    await watching.watch.known(large.owner, large.groups)
    assert not watching.refuses(new_cluster(), ONE)
    now += 61
    assert watching.refuses(new_cluster(), ONE)
