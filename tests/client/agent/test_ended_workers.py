"""Workers whose processes have ended are removed as instructed, however silent their connections are.

A stopped process is as silent as one of a lost node, and its connections stay open: Dask would wait for five minutes.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from tests.client.agent import tasks
from tests.client.agent.running import Agent, Cluster

from headrace.internal.v1 import agent_service_pb2 as pb


def _instruct(cluster: Cluster, *lost: Agent, **addresses: str) -> None:
    known = {agent.process: cluster.controller.state.workers[agent.process] for agent in lost}
    ended = [pb.EndedWorker(process=name, address=address) for name, address in (known | addresses).items()]
    cluster.controller.instruct(pb.SessionResponse(ended=ended))


def _submit(cluster: Cluster, client: Any) -> Any:
    """A task that runs until the file ``hold-1`` is gone, and writes down each of its runs."""
    (cluster.directory / "hold-1").touch()
    return client.submit(tasks.counted, str(cluster.directory), 1, pure=False)


async def _until_runs(cluster: Cluster, times: int) -> None:
    runs = cluster.directory / "runs"
    await cluster.eventually(lambda: runs.exists() and len(runs.read_text().split()) == times)


async def _statuses(client: Any) -> dict[str, str]:
    return await client.run_on_scheduler(tasks.worker_statuses)


async def test_what_a_silent_worker_was_computing_runs_again_elsewhere(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [lost] = await cluster.start_workers(1)
    async with cluster.connect() as client:
        held = await client.scatter([1])
        future = _submit(cluster, client)
        await _until_runs(cluster, 1)
        [staying] = await cluster.start_workers(1)
        os.killpg(lost.pid, signal.SIGSTOP)
        _instruct(cluster, lost)
        await _until_runs(cluster, 2)
        (cluster.directory / "hold-1").unlink()
        assert await future == 1
        del held
    state = cluster.controller.state
    await cluster.eventually(lambda: lost.process in state.left)
    assert state.left[lost.process] == pb.LeftWorker(process=lost.process, tasks_lost=1, scattered_lost=1)
    assert list(state.workers) == [staying.process]
    assert state.hellos[-1].removes_ended


async def test_one_that_runs_after_all_ends_in_order(cluster: Cluster) -> None:
    """Such as on a node that nobody could reach for some time."""
    await cluster.start_scheduler()
    [lost] = await cluster.start_workers(1)
    await cluster.settled()
    os.killpg(lost.pid, signal.SIGSTOP)
    _instruct(cluster, lost)
    await cluster.eventually(lambda: lost.process in cluster.controller.state.left)
    os.killpg(lost.pid, signal.SIGCONT)
    await cluster.eventually(lambda: lost.code is not None)
    assert lost.code == 0, lost.log
    assert lost.process not in cluster.controller.state.workers


async def test_one_that_is_back_with_another_address_stays(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    lost, returned = await cluster.start_workers(2)
    state = cluster.controller.state
    addresses = dict(state.workers)
    _instruct(cluster, lost, **{returned.process: "tls://127.0.0.1:1", "default-9-abc234": addresses[returned.process]})
    await cluster.eventually(lambda: lost.process in state.left)
    async with cluster.connect() as client:
        assert await _statuses(client) == {addresses[returned.process]: "running"}
    assert list(state.workers) == [returned.process]


async def test_a_task_is_blamed_once_for_workers_that_are_lost_together(cluster: Cluster) -> None:
    """Without a third worker it could only move from one that is lost to the other one."""
    cluster.controller.enrollment.dask_config.update({"distributed": {"scheduler": {"allowed-failures": 1}}})
    await cluster.start_scheduler()
    lost = await cluster.start_workers(1)
    async with cluster.connect() as client:
        future = _submit(cluster, client)
        await _until_runs(cluster, 1)
        lost += await cluster.start_workers(1)
        for agent in lost:
            os.killpg(agent.pid, signal.SIGSTOP)
        _instruct(cluster, *lost)
        await cluster.eventually(lambda: len(cluster.controller.state.left) == 2)
        await cluster.start_workers(1)
        await _until_runs(cluster, 2)
        (cluster.directory / "hold-1").unlink()
        assert await future == 1


async def test_one_that_has_left_already_is_no_news(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    lost, staying = await cluster.start_workers(2)
    state = cluster.controller.state
    addresses = dict(state.workers)
    lost.kill()
    await cluster.eventually(lambda: lost.process in state.left)
    left = state.left[lost.process]
    _instruct(cluster, **{lost.process: addresses[lost.process]})
    cluster.controller.instruct(pb.SessionResponse(retire=[pb.RetireInstruction(group="default", keep=0)]))
    await cluster.eventually(lambda: staying.process in state.left)
    assert state.left[lost.process] == left
