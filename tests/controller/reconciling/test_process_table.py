"""The table of processes: what the backend reports, through failures and gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest
from prometheus_client import REGISTRY
from tests.conftest import Eventually
from tests.controller.builders import exited_process, new_cluster, process

from headrace_controller.backends.base import Backend, BackendError
from headrace_controller.backends.changes import ChangeFeed
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus
from headrace_controller.model import ClusterId
from headrace_controller.reconciling.process_table import ProcessTable

C1, C2 = ClusterId("c1"), ClusterId("c2")


class Machine:
    """A backend that reports what a test sets."""

    def __init__(self) -> None:
        self.statuses: list[ProcessStatus] = []
        self.feed = ChangeFeed()
        self.observations = 0
        self.fails = False
        self.observes = asyncio.Event()
        self.observes.set()

    async def observe(self, cluster: str | None = None) -> list[ProcessStatus]:
        seen = [status for status in self.statuses if cluster in {None, status.key.cluster}]
        self.observations += 1
        await self.observes.wait()
        if self.fails:
            raise BackendError("away")
        return seen

    def changes(self) -> AsyncIterator[ProcessStatus]:
        return self.feed.stream()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def changed() -> list[str]:
    return []


@pytest.fixture
async def table(machine: Machine, changed: list[str]) -> AsyncIterator[ProcessTable]:
    machine.statuses = [process(), process("default-1")]
    made = ProcessTable(cast("Backend", machine), changed=changed.append, clock=lambda: 0.0)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_it_knows_what_runs_and_follows_changes(
    machine: Machine, table: ProcessTable, changed: list[str], eventually: Eventually
) -> None:
    await table.known.wait()
    assert table.of(C1) == {SCHEDULER: process(), "default-1": process("default-1")}
    assert table.of(C2) == {}
    machine.feed.publish(process(cluster="c2"))
    machine.feed.publish(process(cluster="c2"))
    machine.feed.publish(exited_process(cluster="c2"))
    await eventually(lambda: len(changed) >= 3)
    assert changed == ["c1", "c2", "c2"]
    assert table.of(C2) == {SCHEDULER: exited_process(cluster="c2")}
    assert (table.runs(C1), table.runs(C2)) == (True, False)
    assert table.clusters() == ["c1", "c2"]


async def test_a_change_during_an_observation_is_newer_than_what_is_observed(
    machine: Machine, table: ProcessTable, eventually: Eventually
) -> None:
    await table.known.wait()
    machine.observes.clear()
    refreshing = asyncio.create_task(table.refresh())
    await eventually(lambda: machine.observations == 2)
    machine.feed.publish(exited_process())
    await eventually(lambda: table.of(C1)[SCHEDULER] == exited_process())
    machine.observes.set()
    await refreshing
    assert table.of(C1)[SCHEDULER] == exited_process()


async def test_a_change_during_an_observation_of_one_cluster_is_newer_than_what_is_observed(
    machine: Machine, table: ProcessTable, eventually: Eventually
) -> None:
    await table.known.wait()
    machine.observes.clear()
    refreshing = asyncio.create_task(table.refresh_cluster(C1))
    await eventually(lambda: machine.observations == 2)
    machine.feed.publish(exited_process())
    await eventually(lambda: table.of(C1)[SCHEDULER] == exited_process())
    machine.observes.set()
    await refreshing
    assert table.of(C1) == {SCHEDULER: exited_process(), "default-1": process("default-1")}


async def test_a_change_during_two_observations_is_newer_than_what_either_observes(
    machine: Machine, table: ProcessTable, changed: list[str], eventually: Eventually
) -> None:
    await table.known.wait()
    machine.observes.clear()
    one = asyncio.create_task(table.refresh())
    await eventually(lambda: machine.observations == 2)
    machine.feed.publish(exited_process())
    await eventually(lambda: table.of(C1)[SCHEDULER] == exited_process())
    machine.statuses = [exited_process(), process("default-1")]
    other = asyncio.create_task(table.refresh())
    await eventually(lambda: machine.observations == 3)
    machine.observes.set()
    await one
    await other
    assert table.of(C1)[SCHEDULER] == exited_process()
    assert changed.count("c1") == 2  # it was never taken for running again


async def test_an_observation_repairs_what_changes_have_missed(
    machine: Machine, table: ProcessTable, changed: list[str]
) -> None:
    await table.known.wait()
    changed.clear()
    machine.statuses = [process(cluster="c2")]
    await table.refresh()
    assert sorted(changed) == ["c1", "c2"]
    assert table.clusters() == ["c2"]
    machine.statuses += [process()]
    await table.refresh_cluster(C1)
    assert table.runs(C1)


async def test_a_backend_that_fails_is_observed_again(
    machine: Machine, table: ProcessTable, eventually: Eventually
) -> None:
    await table.known.wait()
    machine.fails = True
    feed, machine.feed = machine.feed, ChangeFeed()
    feed.close()
    await eventually(lambda: machine.observations >= 2)
    machine.fails = False
    machine.statuses = [exited_process()]
    await eventually(lambda: table.of(C1) == {SCHEDULER: exited_process()})


async def test_exited_processes_are_forgotten_with_their_record(machine: Machine, table: ProcessTable) -> None:
    await table.known.wait()
    machine.statuses = [exited_process(), process(cluster="c2")]
    await table.refresh()
    for name in ("c1", "c2"):
        table.removed(new_cluster(name))
    assert table.clusters() == ["c2"]


async def test_running_processes_are_counted(machine: Machine, table: ProcessTable) -> None:
    await table.known.wait()
    machine.statuses = [exited_process(), process("default-1"), process("default-2", cluster="c2")]
    await table.refresh()
    found = {
        role: REGISTRY.get_sample_value("headrace_controller_processes", {"role": role})
        for role in ("scheduler", "worker")
    }
    assert found == {"scheduler": 0, "worker": 2}


async def test_a_process_is_timed_by_the_controllers_clock_and_once(machine: Machine) -> None:
    now = [100.0]
    table = ProcessTable(cast("Backend", machine), changed=lambda _: None, clock=lambda: now[0])
    machine.statuses = [process(state=ProcessState.PENDING), process("default-1", started=1e12)]
    await table.refresh()
    assert {name: seen.runs_since for name, seen in table.of(C1).items()} == {SCHEDULER: 0, "default-1": 100}
    now[0] = 200.0
    machine.statuses = [process(started=-1e12), process("default-1", started=1e12, host="other")]
    await table.refresh_cluster(C1)
    now[0] = 300.0
    await table.refresh()
    assert {name: seen.runs_since for name, seen in table.of(C1).items()} == {SCHEDULER: 200, "default-1": 100}
    machine.statuses = [exited_process(), process("default-1")]
    await table.refresh()
    machine.statuses = [process(), process("default-1")]
    await table.refresh()
    assert table.of(C1)[SCHEDULER].runs_since == 300
