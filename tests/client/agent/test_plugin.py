"""How a worker died, told by its nanny: the agent's plugin joins it with what the scheduler saw, in either order."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from distributed import Scheduler, Worker

from headrace.agent import worker_deaths
from headrace.agent.pending_reports import PendingReports
from headrace.agent.plugin import AgentPlugin
from headrace.internal.v1 import agent_service_pb2 as pb

NAME = "default-1-abc234"
DIED = pb.LeftWorker(process=NAME, memory_limit_bytes=400 << 20, exit_code=-15)


class Watched:
    """A scheduler with the plugin, and what that reports."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._pending = PendingReports()
        self._workers: list[Worker] = []
        scheduler.add_plugin(AgentPlugin(scheduler, self._pending, lambda: None, self._close))

    async def join(self) -> str:
        worker = await Worker(
            self.scheduler.address, name=NAME, nthreads=1, dashboard=False, dashboard_address="127.0.0.1:0"
        )
        self._workers.append(worker)
        self.left()
        return worker.address

    async def close(self) -> None:
        for worker in self._workers:
            await worker.close()

    async def remove(self, address: str, *, expected: bool = False) -> None:
        await self.scheduler.remove_worker(address, stimulus_id="test", expected=expected)

    def die(self, address: object, exit_code: object = -15, memory_limit: object = 400 << 20) -> None:
        event = {"worker": address, "exit_code": exit_code, "memory_limit": memory_limit}
        self.scheduler.log_event(worker_deaths.TOPIC, event)

    def left(self) -> list[pb.LeftWorker]:
        return [worker for request in self._pending.take() for worker in request.change.left]

    async def _close(self) -> None:
        pass


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0") as scheduler:
        watched = Watched(scheduler)
        yield watched
        await watched.close()


async def test_a_death_that_is_told_first_is_reported_with_the_loss(watched: Watched) -> None:
    address = await watched.join()
    watched.die(address)
    assert watched.left() == []
    await watched.remove(address)
    assert watched.left() == [DIED]
    watched.die(address)
    assert watched.left() == []


async def test_a_death_that_is_told_after_the_loss_is_reported_too_and_once(watched: Watched) -> None:
    address = await watched.join()
    await watched.remove(address)
    assert watched.left() == [pb.LeftWorker(process=NAME)]
    watched.die(address)
    assert watched.left() == [DIED]
    watched.die(address)
    assert watched.left() == []


async def test_how_a_process_ended_that_was_meant_to_is_nobodys_business(watched: Watched) -> None:
    address = await watched.join()
    watched.die(address)
    await watched.remove(address, expected=True)
    watched.die(address)
    assert watched.left() == [pb.LeftWorker(process=NAME)]


async def test_a_death_that_is_told_too_late_or_makes_no_sense_removes_no_worker(watched: Watched) -> None:
    before = await watched.join()
    await watched.remove(before)
    now = await watched.join()
    for address in (before, now, ["a", "list"], None):
        watched.die(address, exit_code=2**80, memory_limit="much")
    assert watched.left() == []
    await watched.remove(now)
    assert watched.left() == [pb.LeftWorker(process=NAME)]
