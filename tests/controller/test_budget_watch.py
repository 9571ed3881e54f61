"""What replicas know of budgets: a cluster that has just ended or changed counts before anything is read again."""

from __future__ import annotations

import asyncio
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


class FirstAsker:
    """Asks how the budgets stand, and has the store's answer only when that is released."""

    def __init__(self, store: Store, watching: Watching) -> None:
        self._store = store
        self._watching = watching
        self._released = asyncio.Event()

    async def ask(self) -> asyncio.Task[object]:
        totals, answered = self._store.used.totals, asyncio.Event()

        async def late(*of: Any) -> Any:
            found = await totals(*of)
            answered.set()
            await self._released.wait()
            return found

        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(self._store.used, "totals", late)
            call = asyncio.create_task(self._watching.watch.read(new_cluster().owner, ()))
            await answered.wait()
        return call

    def release(self) -> None:
        self._released.set()


class Unheard:
    """A cluster that used the budget up and ended before this replica had heard of it."""

    def __init__(self, store: Store, record: Recorder, fence: Fence, watching: Watching) -> None:
        self._store = store
        self._record = record
        self._fence = fence
        self._watching = watching
        self._other = Watching(store)
        self._cluster: Cluster | None = None

    async def run(self, eventually: Eventually) -> None:
        await self._watching.watch.known(new_cluster().owner, ())
        self._cluster = huge = await self._record(new_cluster(), demand=HUGE)
        self._other.mirror.apply(huge)
        await self._other.watch.known(huge.owner, ())

        async def used_up() -> bool:
            return self._other.refuses(new_cluster(), ONE)

        await eventually(used_up)

    async def end(self) -> None:
        """Ends it; the replica reads that from the stream at once."""
        assert self._cluster is not None
        ended = replace(self._cluster, status=Status(phase=Phase.STOPPED, ended=time.time()))
        self._watching.mirror.apply(await self._store.records.save_status(self._cluster, ended, fence=self._fence))


@pytest.fixture
def unheard(store: Store, record: Recorder, fence: Fence, watching: Watching) -> Unheard:
    return Unheard(store, record, fence, watching)


async def test_a_cluster_that_ended_before_it_was_known_counts(
    unheard: Unheard, watching: Watching, eventually: Eventually
) -> None:
    await unheard.run(eventually)
    await unheard.end()
    await watching.watch.known(new_cluster().owner, ())
    assert watching.refuses(new_cluster(), ONE)


async def test_a_cluster_that_ended_counts_although_who_asked_first_has_gone(
    store: Store, unheard: Unheard, watching: Watching, eventually: Eventually
) -> None:
    await unheard.run(eventually)
    await unheard.end()
    call = await FirstAsker(store, watching).ask()
    call.cancel()
    await asyncio.wait([call])
    await watching.watch.known(new_cluster().owner, ())
    assert watching.refuses(new_cluster(), ONE)


@pytest.mark.parametrize("asks", ["before its end", "after its end"])
async def test_a_cluster_that_ended_counts_while_and_after_another_one_has_an_older_answer(
    store: Store, unheard: Unheard, watching: Watching, eventually: Eventually, asks: str
) -> None:
    first = FirstAsker(store, watching)
    await unheard.run(eventually)
    call = await first.ask() if asks == "before its end" else None
    await unheard.end()
    call = call or await first.ask()
    await watching.watch.known(new_cluster().owner, ())
    assert watching.refuses(new_cluster(), ONE)
    first.release()
    await call
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
