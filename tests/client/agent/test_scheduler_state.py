"""What the agent reads from a scheduler; `test_cluster` has more, from running ones."""

from __future__ import annotations

import pytest
from distributed import Client, Scheduler, Worker
from distributed.metrics import time
from tests.conftest import Eventually

from headrace.agent.idleness import IdleTimeout, has_futures
from headrace.agent.scheduler_state import group_of


@pytest.mark.parametrize(("process", "group"), [("default-1-abc234", "default"), ("big-gpu-12-abc234", "big-gpu")])
def test_the_group_is_in_a_workers_id(process: str, group: str) -> None:
    assert group_of(process) == group


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_the_idle_timeout_goes_by_a_clock_that_does_not_jump() -> None:
    async with Scheduler(
        host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0", idle_timeout=10
    ) as scheduler:
        clock = Clock()
        idle = IdleTimeout(scheduler, clock)
        assert (idle.seconds, scheduler.idle_timeout) == (10.0, None)
        scheduler.idle_since = time() - 86400  # the machine's clock was set forward by a day
        assert not idle.passed()
        clock.now += 9
        assert not idle.passed()
        clock.now += 1
        assert idle.passed()
        scheduler.transition_counter += 1  # a task came and went
        assert not idle.passed()
        clock.now += 20
        assert not idle.passed()


async def test_without_an_idle_timeout_none_passes() -> None:
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler:
        clock = Clock()
        idle = IdleTimeout(scheduler, clock)
        scheduler.idle_since = time()
        assert not idle.passed()
        clock.now += 1e9
        assert not idle.passed()


async def test_a_client_that_looks_at_results_is_activity_and_one_without_any_is_not(eventually: Eventually) -> None:
    clock = Clock()
    async with (
        Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0", idle_timeout=10) as there,
        Worker(there.address, nthreads=1, dashboard=False, dashboard_address="127.0.0.1:0"),
        Client(there.address, asynchronous=True) as client,
    ):
        idle = IdleTimeout(there, clock)
        result = client.submit(sum, [1, 2])
        assert await result == 3
        await eventually(lambda: there.check_idle() is not None)
        for _ in range(5):
            clock.now += 100
            assert not idle.passed()
        del result
        await eventually(lambda: not has_futures(there))

        def passes() -> bool:
            clock.now += 11
            return idle.passed()

        await eventually(passes)
        assert len(there.client_comms) == 1
