"""What each source of measurements must do; a subclass of `SignalsContract` gives it a `world`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from distributed import Client, Event, Worker
from tests.controller.builders import new_cluster_id
from tests.controller.signals.pages import Page, scheduler, text

from headrace_controller.model import ClusterId
from headrace_controller.signals.measured import Absence, Measured, NotMeasured
from headrace_controller.signals.rounds import MeasuredSignals
from headrace_controller.signals.source import Source, Target

STALE_SECONDS = 30.0
AGE = 10_000.0  # of each cluster


class World:
    """Schedulers, and what measures them.

    Parameters
    ----------
    targets
        Those that are measured; a source may look into it.
    """

    def __init__(self, source: Source, targets: dict[ClusterId, Target], stack: AsyncExitStack) -> None:
        self.offset = 0.0
        self.targets = targets
        self.changed: list[ClusterId] = []
        self.signals = MeasuredSignals(
            source, lambda: list(targets.values()), interval=1, stale=STALE_SECONDS, clock=self.now
        )
        self.signals.on_change(self.changed.append)
        self._stack = stack

    def now(self) -> float:
        return time.time() + self.offset

    async def page(self, content: str | None = None) -> Page:
        cluster = new_cluster_id()
        made = await self._stack.enter_async_context(Page(cluster, content or text()).served())
        self._add(cluster, made.address)
        return made

    async def scheduler(self) -> tuple[ClusterId, Any]:
        cluster = new_cluster_id()
        made = await self._stack.enter_async_context(scheduler(cluster))
        self._add(cluster, f"127.0.0.1:{made.http_server.port}")
        return cluster, made

    def of(self, page: Page) -> Measured | NotMeasured:
        return self.signals.of(ClusterId(page.cluster))

    async def until(self, holds: Callable[[], object]) -> None:
        """Measure until it holds."""
        async with asyncio.timeout(30):
            while not holds():
                await self.signals.measure()
                await asyncio.sleep(0.05)

    async def read_twice(self, page: Page) -> None:
        """Measure until a page was surely read with what it says now."""
        asked = page.asked
        await self.until(lambda: page.asked >= asked + 2)
        await self.signals.measure()

    def _add(self, cluster: ClusterId, address: str) -> None:
        now = self.now()
        self.targets[cluster] = Target(cluster, now - AGE, now - AGE, address)


def _wait() -> None:
    event: Any = Event("release")
    event.wait()


class SignalsContract:
    """The suite."""

    async def test_work_and_clients_and_data_of_a_real_scheduler_are_seen(self, world: World) -> None:
        cluster, there = await world.scheduler()

        def sees(**facts: object) -> bool:
            found = world.signals.of(cluster)
            return isinstance(found, Measured) and all(getattr(found, name) == is_ for name, is_ in facts.items())

        async with Worker(there.address, nthreads=1, dashboard=False, dashboard_address="127.0.0.1:0"):
            before = time.time()
            await world.until(lambda: sees(clients=0, workers=1, held_tasks=0) and not sees(idle_since=None))
            async with Client(there.address, asynchronous=True) as client:
                future: Any = client.submit(_wait)
                await world.until(lambda: sees(clients=1, processing_tasks=1, idle_since=None))
                release: Any = Event("release", client=client)
                await release.set()
                await future
                done = time.time()
                await world.until(
                    lambda: sees(clients=1, processing_tasks=0, held_tasks=1) and not sees(idle_since=None)
                )
                found = world.signals.of(cluster)
                assert isinstance(found, Measured)
                assert found.idle_since is not None
                assert found.idle_since > before
                assert found.active >= found.idle_since - 1
                assert found.time >= done - 1
                assert found.held_bytes > 0
                assert found.memory_bytes > 0
            await world.until(lambda: sees(clients=0, held_tasks=0))
        await world.until(lambda: sees(workers=0))
        assert cluster in world.changed

    async def test_the_numbers_of_a_page_arrive(self, world: World) -> None:
        numbers = {
            "idle_seconds": 500,
            "inactive_seconds": 400,
            "clients": 2,
            "queued_tasks": 3,
            "processing_tasks": 4,
            "held_tasks": 5,
            "held_bytes": 6,
            "spilled_bytes": 7,
            "workers": 8,
            "worker_memory_bytes": 9e9,
            "worker_cores": 1.5,
            "worker_core_seconds_total": 11.25,
            "worker_memory_byte_seconds_total": 12e12,
        }
        page = await world.page(text(numbers))
        await world.until(lambda: isinstance(world.of(page), Measured))
        found = world.of(page)
        assert isinstance(found, Measured)
        assert found.idle_since == pytest.approx(found.time - 500, abs=0.001)
        assert found.active == pytest.approx(found.time - 400, abs=0.001)
        assert (found.clients, found.queued_tasks, found.processing_tasks) == (2, 3, 4)
        assert (found.held_tasks, found.held_bytes, found.spilled_bytes, found.workers) == (5, 6, 7, 8)
        assert (found.memory_bytes, found.cores) == (9_000_000_000, 1.5)
        assert (found.core_seconds, found.memory_byte_seconds) == (11.25, 12e12)

    async def test_a_cluster_that_is_no_target_is_missing(self, world: World) -> None:
        page = await world.page()
        del world.targets[ClusterId(page.cluster)]
        await world.signals.measure()
        assert world.of(page) == NotMeasured(absence=Absence.MISSING)

    async def test_what_is_not_read_any_more_grows_stale_and_comes_back(self, world: World) -> None:
        page, other = await world.page(), await world.page()
        await world.until(lambda: isinstance(world.of(page), Measured))
        page.hangs = True
        last = None
        while world.of(page) is not last:
            last = world.of(page)
            await world.read_twice(other)
        world.offset += STALE_SECONDS
        found = world.of(page)
        assert isinstance(found, NotMeasured)
        assert found.absence is Absence.STALE
        assert found.last == last
        world.changed.clear()
        await world.until(lambda: isinstance(world.of(other), Measured))
        assert world.changed.count(ClusterId(page.cluster)) == 1
        assert ClusterId(other.cluster) in world.changed  # it was stale here, between two rounds
        page.hangs = False
        await world.until(lambda: isinstance(world.of(page), Measured))

    @pytest.mark.parametrize(
        "says",
        [
            text({"idle_seconds": AGE + 1000}),  # idle for longer than it lives
            text({"inactive_seconds": AGE + 1000}),
            text({"idle_seconds": -1}),
            text({"clients": "NaN"}),
            text({"held_bytes": "+Inf"}),
            text({"worker_cores": 1e30}),
            text({"held_tasks": 2.0**64}),
            text().replace("headrace_scheduler_clients 0\n", ""),
            "no numbers",
            "# EOF\n",
            "x" * (1 << 20),
            text({}, *(f"headrace_scheduler_more{n} 1" for n in range(5000))),
        ],
        ids=lambda says: says.splitlines()[0][:30],
    )
    async def test_a_page_that_cannot_be_true_is_no_sample(self, world: World, says: str) -> None:
        page, good = await world.page(says), await world.page(text({"idle_seconds": 100}))
        await world.until(lambda: isinstance(world.of(good), Measured))
        await world.read_twice(page)
        assert world.of(page) == NotMeasured(absence=Absence.MISSING)

    async def test_no_page_speaks_for_another_cluster(self, world: World) -> None:
        victim = await world.page()
        labels = f'cluster="{victim.cluster}",job="headrace-schedulers"'
        forged = [f"headrace_scheduler_idle_seconds{{{labels}}} 5000", f"headrace_scheduler_clients{{{labels}}} 9"]
        liar = await world.page(text({"idle_seconds": 7000}, *forged))
        await world.read_twice(liar)
        await world.until(lambda: isinstance(world.of(victim), Measured))
        found = world.of(victim)
        assert isinstance(found, Measured)
        assert (found.idle_since, found.clients) == (None, 0)

    async def test_no_page_sets_the_time_of_its_sample(self, world: World) -> None:
        times = [round((time.time() + shift) * 1000) for shift in (-9000, 9000)]
        pages = [await world.page(text({"idle_seconds": f"50 {at}"})) for at in times]
        before = time.time()
        for page in pages:
            await world.read_twice(page)
        for page in pages:
            found = world.of(page)
            assert isinstance(found, NotMeasured) or before - 5 < found.time <= time.time()

    async def test_a_page_that_hangs_delays_no_other(self, world: World) -> None:
        stuck, good = await world.page(), await world.page()
        stuck.hangs = True
        await world.until(lambda: isinstance(world.of(good), Measured))
        assert world.of(stuck) == NotMeasured(absence=Absence.MISSING)
