"""Carrying out: launches within the step, stops beside it, and neither twice at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest
from tests.conftest import Eventually
from tests.controller.builders import new_cluster, running_cluster, worker

from headrace_controller.backends.base import Backend, BackendError, LogPiece
from headrace_controller.backends.process import SCHEDULER, ProcessSpec
from headrace_controller.model import Cluster, ClusterId
from headrace_controller.plan import FetchLogTail, ScaleToZero, StartProcesses, StopAll, StopProcesses
from headrace_controller.reconciling.executor import Executor
from headrace_controller.reconciling.launch_specs import LaunchSpecs
from headrace_controller.reconciling.manifest_sync import ManifestSync
from headrace_controller.reconciling.queue import WorkQueue
from headrace_controller.reconciling.start_errors import StartErrors

C1 = ClusterId("c1")


class Machine:
    """A backend that writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails = False
        self.stops = asyncio.Event()
        self.stops.set()

    async def scale_to_zero(self, cluster: Cluster, why: str) -> None:
        self.asked.append(f"scale {cluster.id} to zero because {why}")

    async def start(self, specs: Sequence[str]) -> None:
        self.asked.append(f"start {' '.join(specs)}")
        self._check()

    async def stop(self, cluster: str, processes: Sequence[str] | None = None) -> None:
        self.asked.append(f"stop {cluster} {'all' if processes is None else ' '.join(processes)}")
        await self.stops.wait()
        self._check()

    async def logs(self, cluster: str, process: str, *, tail_lines: int) -> AsyncIterator[LogPiece]:
        _ = cluster, tail_lines
        for lines in (b"first\n", b"second\n"):
            yield LogPiece(process, lines)
        self._check()

    def _check(self) -> None:
        if self.fails:
            raise BackendError("no room")


class Specs:
    def make(self, cluster: Cluster, processes: Sequence[str], manifest: bytes) -> list[ProcessSpec]:
        _ = cluster
        return cast("list[ProcessSpec]", [f"{process}{'+manifest' if manifest else ''}" for process in processes])


class Manifests:
    def __init__(self) -> None:
        self.write = asyncio.Event()
        self.write.set()
        self.doubtful: list[ClusterId] = []

    def launch_failed(self, cluster: ClusterId) -> None:
        self.doubtful.append(cluster)

    async def initial(self, cluster: Cluster) -> bytes:
        return cluster.id.encode()

    async def written(self, cluster: ClusterId) -> None:
        _ = cluster
        await self.write.wait()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def manifests() -> Manifests:
    return Manifests()


@pytest.fixture
def errors() -> StartErrors:
    return StartErrors(clock=lambda: 0.0)


@pytest.fixture
def queue() -> WorkQueue[ClusterId]:
    return WorkQueue()


@pytest.fixture
async def executor(
    machine: Machine, manifests: Manifests, errors: StartErrors, queue: WorkQueue[ClusterId]
) -> AsyncIterator[Executor]:
    made = Executor(
        cast("Backend", machine),
        cast("LaunchSpecs", Specs()),
        cast("ManifestSync", manifests),
        errors,
        queue,
        scale_to_zero=machine.scale_to_zero,
    )
    yield made
    await made.close()


async def test_actions_are_carried_out_in_their_order(executor: Executor, machine: Machine) -> None:
    cluster = running_cluster(worker("default-1-a"))
    await executor.execute(
        cluster,
        [
            StartProcesses((SCHEDULER,)),
            StartProcesses(("default-1-a",)),
            StopProcesses(("default-2-b",)),
            ScaleToZero("it is idle"),
            FetchLogTail("x"),
        ],
    )
    await asyncio.sleep(0)
    assert machine.asked == [
        "start scheduler+manifest",
        "start default-1-a",
        "scale c1 to zero because it is idle",
        "stop c1 default-2-b",
    ]


async def test_a_refused_launch_is_recorded_for_its_group_and_keeps_nothing_else(
    executor: Executor, machine: Machine, errors: StartErrors, queue: WorkQueue[ClusterId]
) -> None:
    machine.fails = True
    cluster = running_cluster(worker("default-1-a"))
    await executor.execute(cluster, [StartProcesses((SCHEDULER,)), StartProcesses(("default-1-a",))])
    assert {group: error.message for group, error in errors.of(C1).items()} == {None: "no room", "default": "no room"}
    assert await queue.take() == C1
    machine.fails = False
    await executor.execute(cluster, [StartProcesses(("default-1-a",))])
    assert list(errors.of(C1)) == [None]
    await executor.execute(cluster, [StopAll()])
    assert errors.of(C1) == {}


async def test_a_stop_is_not_asked_for_twice_at_the_same_time(
    executor: Executor, machine: Machine, eventually: Eventually
) -> None:
    machine.stops.clear()
    for processes in (["a"], ["a", "b"], None, ["c"], None):
        executor.stop(C1, processes)
    await eventually(lambda: len(machine.asked) == 3)
    assert machine.asked == ["stop c1 a", "stop c1 b", "stop c1 all"]
    machine.stops.set()

    def again() -> bool:
        executor.stop(C1, ["a"])
        return "stop c1 a" in machine.asked[3:]

    await eventually(again)


async def test_everything_is_stopped_only_once_its_manifest_says_so(
    executor: Executor, machine: Machine, manifests: Manifests, eventually: Eventually
) -> None:
    manifests.write.clear()
    executor.stop(C1)
    executor.stop(C1, None)
    executor.stop(ClusterId("c2"), ["a"])
    await eventually(lambda: machine.asked)
    assert machine.asked == ["stop c2 a"]
    manifests.write.set()
    await eventually(lambda: machine.asked == ["stop c2 a", "stop c1 all"])


async def test_a_stop_that_fails_is_planned_again(
    executor: Executor, machine: Machine, queue: WorkQueue[ClusterId]
) -> None:
    machine.fails = True
    executor.stop(C1)
    async with asyncio.timeout(60):
        assert await queue.take() == C1


async def test_the_end_of_a_log_is_read_as_far_as_possible(executor: Executor, machine: Machine) -> None:
    assert await executor.log_tail(C1, SCHEDULER, 100) == "first\nsecond\n"
    assert await executor.log_tail(C1, SCHEDULER, 4) == "ond\n"
    machine.fails = True
    assert await executor.log_tail(C1, SCHEDULER, 100) == "first\nsecond\n"


async def test_stops_under_way_are_abandoned_when_it_closes(executor: Executor, machine: Machine) -> None:
    machine.stops.clear()
    executor.stop(new_cluster().id)
    await asyncio.sleep(0)
    await executor.close()


async def test_whether_the_manifest_of_a_scheduler_is_kept_is_unknown_after_a_failure(
    executor: Executor, machine: Machine, manifests: Manifests
) -> None:
    machine.fails = True
    await executor.execute(new_cluster("c2"), [StartProcesses(("default-1-a",))])
    assert not manifests.doubtful
    await executor.execute(new_cluster("c1"), [StartProcesses((SCHEDULER,))])
    assert manifests.doubtful == [C1]
