"""A process that the platform ends, such as on a drained node or a spot machine, has a time to leave in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.client.agent import tasks
from tests.client.agent.plain_processes import log_of, run
from tests.client.agent.running import Agent, Cluster

from headrace.agent.grace import grace_seconds, hands_over, usable_seconds
from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2


@pytest.fixture
def patient(cluster: Cluster) -> Cluster:
    """A cluster whose processes have much time to end."""
    cluster.environment["HEADRACE_GRACE_SECONDS"] = "300"
    return cluster


class Work:
    """Counted tasks, of which some are held until they are released."""

    def __init__(self, cluster: Cluster, client: Any) -> None:
        self.directory = cluster.directory
        self.client = client
        self.cluster = cluster

    def submit(
        self, number: int, *needs: Any, at: Agent | None = None, hold: bool = False, task: Any = tasks.counted
    ) -> Any:
        if hold:
            self._hold(number).touch()
        options: dict[str, Any] = {}
        if at is not None:
            options = {"workers": [self.cluster.controller.state.workers[at.process]], "allow_other_workers": True}
        return self.client.submit(task, str(self.directory), number, *needs, key=f"t-{number}", **options)

    def release(self, number: int) -> None:
        self._hold(number).unlink()

    def runs(self) -> list[int]:
        file = self.directory / "runs"
        return sorted(int(line) for line in file.read_text().split()) if file.exists() else []

    def _hold(self, number: int) -> Path:
        return self.directory / f"hold-{number}"


async def test_what_a_leaving_worker_holds_is_not_computed_again(patient: Cluster) -> None:
    await patient.start_scheduler()
    agents = await patient.start_workers(2)
    async with patient.connect() as client:
        work = Work(patient, client)
        futures = [work.submit(n, at=agents[n % 2]) for n in range(20)]
        await client.gather(futures)
        agents[0].kill(signal.SIGTERM)
        await patient.eventually(lambda: agents[0].code is not None, within=60)
        assert agents[0].code == 0, agents[0].log
        assert sum(await client.gather(futures)) == sum(range(20))
        assert work.runs() == list(range(20))
    await patient.eventually(lambda: agents[0].process in patient.controller.state.left)
    assert patient.controller.state.left[agents[0].process] == pb.LeftWorker(process=agents[0].process, retired=True)
    assert "what this worker held has moved to other workers" in agents[0].log


@pytest.mark.parametrize("task", [tasks.counted, tasks.counted_coroutine])
async def test_a_notice_in_the_middle_of_a_computation_loses_nothing(patient: Cluster, task: Any) -> None:
    await patient.start_scheduler()
    leaving, staying = await patient.start_workers(2)
    async with patient.connect() as client:
        work = Work(patient, client)
        first = [work.submit(n, at=leaving) for n in range(8)]
        await client.gather(first)
        running = work.submit(8, *first, at=leaving, hold=True, task=task)
        await patient.eventually(lambda: 8 in work.runs())
        later = [work.submit(n, running) for n in range(9, 15)]
        leaving.kill(signal.SIGTERM)
        await patient.eventually(lambda: _stays_out(client, staying, patient))
        assert leaving.code is None  # its task runs
        meanwhile = work.submit(15, at=leaving)
        assert await meanwhile == 15
        work.release(8)
        assert await running == 8 + sum(range(8))
        assert await client.gather(later) == [n + 36 for n in range(9, 15)]
        await patient.eventually(lambda: leaving.code is not None, within=60)
        assert work.runs() == list(range(16))
    assert leaving.code == 0, leaving.log


async def test_a_result_that_the_scheduler_has_not_heard_of_is_not_computed_again(patient: Cluster) -> None:
    await patient.start_scheduler()
    leaving, _ = await patient.start_workers(2)
    async with patient.connect() as client:
        work = Work(patient, client)
        address = patient.controller.state.workers[leaving.process]
        future = work.submit(8, at=leaving, hold=True)
        await patient.eventually(lambda: 8 in work.runs())
        await client.run(tasks.speak_late, 3, workers=[address])
        work.release(8)
        await patient.eventually(lambda: _is_computed(client, address, "t-8"))
        leaving.kill(signal.SIGTERM)
        await patient.eventually(lambda: leaving.code is not None, within=60)
        assert await future == 8
        assert work.runs() == [8], leaving.log


async def test_a_task_that_the_worker_has_not_heard_of_is_not_computed_twice(patient: Cluster) -> None:
    await patient.start_scheduler()
    leaving, _ = await patient.start_workers(2)
    async with patient.connect() as client:
        work = Work(patient, client)
        address = patient.controller.state.workers[leaving.process]
        await client.run(tasks.hear_late, workers=[address])
        future = work.submit(8, at=leaving)
        await patient.eventually(lambda: _is_given(client, address, "t-8"))
        leaving.kill(signal.SIGTERM)
        await patient.eventually(lambda: leaving.code is not None, within=60)
        assert await future == 8
        assert work.runs() == [8], leaving.log


async def test_a_worker_that_computes_before_its_nanny_knows_that_it_runs_hands_over_too(patient: Cluster) -> None:
    await patient.start_scheduler()
    await patient.start_workers()
    hold = patient.directory / "hold-nanny"
    hold.touch()
    code = f"from tests.client.agent import tasks; tasks.know_late({str(patient.directory)!r})"
    patient.controller.enrollment.dask_config.update({"distributed": {"nanny": {"preload": [code]}}})
    [leaving] = await patient.start_workers()
    async with patient.connect() as client:
        work = Work(patient, client)
        future = work.submit(8, at=leaving, hold=True)
        await patient.eventually(lambda: 8 in work.runs())
        leaving.kill(signal.SIGTERM)
        await patient.eventually(lambda: "this worker leaves" in leaving.log)
        hold.unlink()
        await patient.eventually(lambda: client.run_on_scheduler(tasks.is_leaving, "default-2-abc234"))
        work.release(8)
        await patient.eventually(lambda: leaving.code is not None, within=60)
        assert await future == 8
        assert work.runs() == [8], leaving.log


async def _is_given(client: Any, address: str, key: str) -> bool:
    return key in (await client.processing([address]))[address]


async def _is_computed(client: Any, address: str, key: str) -> bool:
    return (await client.run(tasks.task_state, key, workers=[address])) == {address: "memory"}


async def test_a_worker_process_that_does_not_find_headrace_hands_over_too(patient: Cluster) -> None:
    """Such as one that a command starts in another environment."""
    await patient.start_scheduler()
    leaving, _ = await patient.start_workers(2)
    async with patient.connect() as client:
        work = Work(patient, client)
        futures = [work.submit(n, at=leaving) for n in range(10)]
        await client.gather(futures)
        address = patient.controller.state.workers[leaving.process]
        await client.run(exec, "import sys; sys.modules['headrace.agent.leaving'] = None", workers=[address])
        leaving.kill(signal.SIGTERM)
        await patient.eventually(lambda: leaving.code is not None, within=60)
        assert sum(await client.gather(futures)) == sum(range(10))
        assert work.runs() == list(range(10))
    assert "what this worker held has moved to other workers" in leaving.log


async def test_the_worker_of_a_command_hands_over_too(patient: Cluster) -> None:
    await patient.start_scheduler()
    name = "default-9-abc234"
    given = patient.environment | patient.identity(name).to_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)}
    dask_worker = (sys.executable, "-m", "dask", "worker", "--host", "127.0.0.1", "--nthreads", "1")
    command = await run(patient, name, "--", *dask_worker, given=given)
    await patient.eventually(lambda: name in patient.controller.state.workers, within=60)
    async with patient.connect() as client:
        work = Work(patient, client)
        futures = [work.submit(n) for n in range(10)]
        await client.gather(futures)
        running = work.submit(10, hold=True)
        await patient.eventually(lambda: 10 in work.runs())
        [staying] = await patient.start_workers()
        command.send_signal(signal.SIGTERM)
        await patient.eventually(lambda: _stays_out(client, staying, patient))
        work.release(10)
        assert "this worker leaves" in await log_of(command)
        assert await client.gather([*futures, running]) == list(range(11))
        assert work.runs() == list(range(11))
    await patient.eventually(lambda: name in patient.controller.state.left)
    assert patient.controller.state.left[name] == pb.LeftWorker(process=name, retired=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_command_that_is_no_worker_is_asked_to_end_at_once(patient: Cluster, number: int) -> None:
    await patient.start_scheduler()
    name = "default-9-abc234"
    given = patient.environment | patient.identity(name).to_environment()
    script = "import signal, sys; print('up', flush=True); signal.sigwait([signal.SIGTERM, signal.SIGINT]); sys.exit(5)"
    block = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT]); {script}"
    command = await run(patient, name, "--", sys.executable, "-c", block, given=given)
    assert command.stdout is not None
    while b"up" not in await asyncio.wait_for(command.stdout.readline(), 60):
        pass
    command.send_signal(number)
    await log_of(command)
    assert command.returncode == 5


async def _stays_out(client: Any, staying: Agent, cluster: Cluster) -> bool:
    """Whether the scheduler gives tasks to one worker only."""
    statuses = await client.run_on_scheduler(tasks.worker_statuses)
    return [address for address, status in statuses.items() if status == "running"] == [
        cluster.controller.state.workers[staying.process]
    ]


async def test_the_only_worker_waits_for_the_one_that_replaces_it(patient: Cluster) -> None:
    await patient.start_scheduler()
    [only] = await patient.start_workers()
    async with patient.connect() as client:
        work = Work(patient, client)
        futures = [work.submit(n) for n in range(5)]
        await client.gather(futures)
        only.kill(signal.SIGTERM)
        await patient.eventually(lambda: "this worker leaves" in only.log)
        await patient.start_workers()
        await patient.eventually(lambda: only.code is not None, within=60)
        assert await client.gather(futures) == list(range(5))
        assert work.runs() == list(range(5))


async def test_a_task_that_does_not_end_is_given_up_and_nothing_else_is_lost(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    cluster.environment["HEADRACE_GRACE_SECONDS"] = "10"
    [leaving] = await cluster.start_workers()
    async with cluster.connect() as client:
        work = Work(cluster, client)
        done = work.submit(0, at=leaving)
        assert await done == 0
        endless = work.submit(1, at=leaving, hold=True)
        await cluster.eventually(lambda: 1 in work.runs())
        await cluster.start_workers()
        leaving.kill(signal.SIGTERM)
        await cluster.eventually(lambda: leaving.code is not None, within=60)
        work.release(1)
        assert await client.gather([done, endless]) == [0, 1]
        assert work.runs() == [0, 1, 1]


async def test_a_worker_whose_scheduler_is_gone_does_not_wait(patient: Cluster) -> None:
    scheduler = await patient.start_scheduler()
    [agent] = await patient.start_workers()
    await patient.settled()
    scheduler.kill()
    agent.kill(signal.SIGTERM)
    await patient.eventually(lambda: agent.code is not None)


async def test_a_worker_of_a_scheduler_that_stops_does_not_wait(patient: Cluster) -> None:
    scheduler = await patient.start_scheduler()
    [agent] = await patient.start_workers()
    async with patient.connect() as client:
        work = Work(patient, client)
        future = work.submit(1, hold=True)
        await patient.eventually(lambda: 1 in work.runs())
        agent.kill(signal.SIGTERM)
        patient.controller.instruct(pb.SessionResponse(stop=True))
        await patient.eventually(lambda: scheduler.code is not None and agent.code is not None, within=60)
        work.release(1)
        del future


async def test_a_worker_without_time_ends_at_once(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    await cluster.settled()
    agent.kill(signal.SIGTERM)
    await cluster.eventually(lambda: agent.code == 0)
    await cluster.eventually(lambda: agent.process in cluster.controller.state.left)
    assert not cluster.controller.state.left[agent.process].retired
    assert "leaves" not in agent.log


async def test_a_scheduler_that_a_signal_ends_says_so_and_ends_in_order(patient: Cluster) -> None:
    scheduler = await patient.start_scheduler()
    [agent] = await patient.start_workers()
    scheduler.kill(signal.SIGTERM)
    await patient.eventually(lambda: scheduler.code is not None and agent.code is not None, within=60)
    assert scheduler.code == 0, scheduler.log
    assert patient.controller.state.closings == [cluster_pb2.END_REASON_SCHEDULER_LOST]


async def test_a_scheduler_that_a_signal_ends_does_not_wait_long_for_a_controller(cluster: Cluster) -> None:
    cluster.environment["HEADRACE_GRACE_SECONDS"] = "3"
    scheduler = await cluster.start_scheduler()
    await cluster.controller.stop()
    scheduler.kill(signal.SIGTERM)
    await cluster.eventually(lambda: scheduler.code is not None, within=60)
    assert scheduler.code == 0
    assert "no controller received the reason" in scheduler.log


async def test_a_scheduler_that_is_stopped_and_signalled_gives_no_reason_of_its_own(patient: Cluster) -> None:
    scheduler = await patient.start_scheduler()
    patient.controller.instruct(pb.SessionResponse(stop=True))
    await patient.eventually(lambda: "stopping, as instructed" in scheduler.log)
    with contextlib.suppress(ProcessLookupError):  # it may have ended already
        scheduler.kill(signal.SIGTERM)
    await patient.eventually(lambda: scheduler.code is not None, within=60)
    assert patient.controller.state.closings == []


@pytest.mark.parametrize(
    ("value", "grace"), [("", 1.0), ("30", 30.0), ("0.2", 1.0), ("-5", 1.0), ("nan", 1.0), ("1e9", 1.0), ("soon", 1.0)]
)
def test_the_grace_is_a_number_of_seconds_or_the_least_that_backends_give(value: str, grace: float) -> None:
    assert grace_seconds({"HEADRACE_GRACE_SECONDS": value} if value else {}) == grace
    assert hands_over(grace) == (grace > 1)
    assert 0 < usable_seconds(grace) < grace
