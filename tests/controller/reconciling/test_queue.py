"""The work queue: names merge, one task each, the earliest time counts."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.conftest import Eventually

from headrace_controller.reconciling.queue import WorkQueue


async def taken(queue: WorkQueue[str], within: float = 0.2) -> str | None:
    try:
        async with asyncio.timeout(within):
            return await queue.take()
    except TimeoutError:
        return None


async def test_duplicates_merge_and_order_is_kept() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for name in ("a", "b", "a", "c", "b"):
        queue.add(name)
    assert len(queue) == 3
    assert [await queue.take() for _ in range(3)] == ["a", "b", "c"]


async def test_what_is_added_during_the_work_comes_once_more_after_it() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.take()
    queue.add("a")
    queue.add("a")
    assert await taken(queue, 0.02) is None
    queue.done("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert await taken(queue, 0.02) is None


@pytest.mark.parametrize("delays", [(0.03, 9), (9, 0.03), (9, 0.03, 9)])
async def test_of_several_delays_the_earliest_counts(delays: tuple[float, ...]) -> None:
    queue: WorkQueue[str] = WorkQueue()
    begun = time.monotonic()
    for delay in delays:
        queue.add_after("a", delay)
    assert await queue.take() == "a"
    assert 0.03 <= time.monotonic() - begun < 9


async def test_at_once_wins_over_later() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.02)
    queue.add("a")
    queue.add_after("a", 0.02)
    assert await taken(queue) == "a"
    queue.done("a")
    assert await taken(queue, 0.05) is None


async def test_what_is_discarded_does_not_come() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.01)
    queue.discard("a")
    assert await taken(queue, 0.05) is None


async def test_a_name_is_with_one_task_at_a_time(eventually: Eventually) -> None:
    queue: WorkQueue[str] = WorkQueue()
    working: set[str] = set()
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        while True:
            name = await queue.take()
            assert name not in working
            working.add(name)
            await asyncio.sleep(0)
            rounds += 1
            working.discard(name)
            queue.done(name)

    tasks = [asyncio.create_task(work()) for _ in range(8)]
    for n in range(500):
        queue.add(f"c{n % 7}")
        if n % 3 == 0:
            await asyncio.sleep(0)
    await eventually(lambda: not len(queue) and not working)
    assert rounds > 7
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
