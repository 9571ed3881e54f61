"""Workers behave as `dask worker` with its nanny does."""

from __future__ import annotations

import os
import resource
import secrets
import signal
from pathlib import Path

import distributed
from tests.client.agent import tasks
from tests.client.agent.running import Cluster, Zygote

from headrace.errors import ClusterEnded
from headrace.internal.v1 import agent_service_pb2 as pb


async def test_client_restart_brings_workers_back_under_their_names(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    async with cluster.connect() as client:
        before = await client.submit(os.getpid)
        await client.restart(timeout=60)
        assert await client.submit(os.getpid, pure=False) != before
    state = cluster.controller.state
    await cluster.eventually(lambda: agent.process in state.workers)
    assert all(left == pb.LeftWorker(process=agent.process) for left in state.left.values())
    assert agent.code is None


async def test_a_killed_worker_process_is_replaced_by_its_nanny(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    async with cluster.connect() as client:
        before = await client.submit(os.getpid)
        os.kill(before, signal.SIGKILL)
        await cluster.eventually(lambda: agent.process in cluster.controller.state.left)
        await cluster.eventually(lambda: agent.process in cluster.controller.state.workers)
        assert await client.submit(os.getpid, pure=False) != before
    assert cluster.controller.state.left[agent.process].exit_code == -signal.SIGKILL


async def test_a_worker_process_has_the_group_the_priority_and_the_mark_of_its_nanny(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    agent = cluster.start("default-9-abc234")
    os.setpriority(os.PRIO_PROCESS, agent.pid, 5)
    await cluster.eventually(lambda: agent.process in cluster.controller.state.workers, within=60)
    async with cluster.connect() as client:
        pid, group = await client.submit(tasks.pid_and_group)
        mark, _ = await client.submit(resource.getrlimit, resource.RLIMIT_RSS)
        assert group == agent.pid
        assert mark == resource.prlimit(agent.pid, resource.RLIMIT_RSS)[0] != resource.RLIM_INFINITY
        assert os.getpriority(os.PRIO_PROCESS, pid) == 5
        os.killpg(agent.pid, signal.SIGKILL)
        await cluster.eventually(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_worker_process_ends_with_a_nanny_that_was_killed(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    async with cluster.connect() as client:
        pid = await client.submit(os.getpid)
        agent.kill()
        await cluster.eventually(lambda: not _alive(pid))


async def test_a_worker_over_its_memory_limit_is_replaced_and_the_limit_reported(cluster: Cluster) -> None:
    enrollment = cluster.controller.enrollment
    enrollment.worker_memory_bytes = 300 << 20
    memory = {"target": False, "spill": False, "pause": False, "terminate": 0.9, "monitor-interval": "20ms"}
    enrollment.dask_config.update({"distributed": {"worker": {"memory": memory}, "scheduler": {"allowed-failures": 0}}})
    await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    async with cluster.connect() as client:
        future = client.submit(tasks.take_memory, 400 << 20)
        error = await future.exception()
        assert isinstance(error, distributed.KilledWorker)
        assert await client.submit(sum, [1, 2]) == 3
    state = cluster.controller.state
    await cluster.eventually(lambda: agent.process in state.workers and agent.process in state.left)
    left = state.left[agent.process]
    assert (left.memory_limit_bytes, left.exit_code, left.retired) == (300 << 20, -signal.SIGTERM, False)
    assert agent.code is None


async def test_nanny_plugins_and_uploaded_files_work(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers()
    module = cluster.directory / "their_module.py"
    module.write_text("answer = 42\n")
    async with cluster.connect() as client:
        await client.register_plugin(tasks.Marks())
        await client.upload_file(str(module))
        assert await client.submit(tasks.marked_answer) == ("yes", 42)


async def test_a_worker_retires_at_the_end_of_its_lifetime(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    cluster.controller.enrollment.worker_lifetime_seconds = 1
    agent = cluster.start("default-9-abc234")
    await cluster.eventually(lambda: agent.code is not None, within=60)
    assert agent.code == 0, agent.log
    await cluster.eventually(lambda: agent.process in cluster.controller.state.left)  # so it had joined


async def test_a_worker_of_an_ended_cluster_fails_with_the_reason(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    cluster.controller.refusal = ClusterEnded("cluster c1 has ended")
    agent = cluster.start("default-9-abc234")
    await cluster.eventually(lambda: agent.code is not None)
    assert agent.code == 1
    assert "cannot enrol" in agent.log.splitlines()[-1]
    assert "cluster c1 has ended" in agent.log.splitlines()[-1]


async def test_a_worker_without_its_scheduler_ends(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    scheduler.kill()
    await cluster.eventually(lambda: agent.code is not None)


async def test_a_worker_that_needs_another_environment_at_exec_starts_cold_and_has_it(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    cluster.controller.enrollment.environment["OMP_NUM_THREADS"] = "3"
    [agent] = await cluster.start_workers()
    assert "start cold: OMP_NUM_THREADS" in agent.log
    async with cluster.connect() as client:
        assert await client.submit(os.getenv, "OMP_NUM_THREADS") == "3"


async def test_what_a_task_prints_is_in_the_log_of_its_worker(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    agents = await cluster.start_workers(2)
    async with cluster.connect() as client:
        addresses = cluster.controller.state.workers
        for agent in agents:
            await client.submit(tasks.shout, f"by {agent.process}", workers=addresses[agent.process])
    for agent in agents:
        assert f"by {agent.process}" in agent.log


async def test_workers_start_cold_when_the_fork_server_has_ended(cluster: Cluster, directory: Path) -> None:
    zygote = Zygote()
    try:
        cold = Cluster(cluster.controller, zygote, directory, cluster.eventually)
        await cold.start_scheduler()
        server = zygote.fork_server()
        os.kill(server, signal.SIGKILL)
        await cold.start_workers()
        async with cold.connect() as client:
            assert await client.submit(sum, [1, 2]) == 3
        await cold.close()
    finally:
        zygote.close()


async def test_workers_start_warm_again_with_another_fork_server(cluster: Cluster, directory: Path) -> None:
    zygote = Zygote()
    try:
        again = Cluster(cluster.controller, zygote, directory, cluster.eventually)
        await again.start_scheduler()
        killed = zygote.fork_server()
        os.kill(killed, signal.SIGKILL)
        server = zygote.repair()
        await again.start_workers()
        async with again.connect() as client:
            assert await client.submit(os.getppid) == server != killed
        await again.close()
    finally:
        zygote.close()


async def test_a_worker_has_nothing_of_other_workers_in_its_memory(cluster: Cluster) -> None:
    key = f"key{secrets.token_hex(16)}"
    await cluster.start_scheduler()
    cluster.controller.enrollment.environment["MY_KEY"] = key
    [hers] = await cluster.start_workers()
    del cluster.controller.enrollment.environment["MY_KEY"]
    [his] = await cluster.start_workers()
    addresses = cluster.controller.state.workers
    async with cluster.connect() as client:
        found = [
            await client.submit(tasks.finds, key[:16], key[16:], workers=addresses[agent.process], pure=False)
            for agent in (hers, his)
        ]
    assert found == [True, False]


async def test_a_worker_that_does_not_reach_its_scheduler_fails_with_the_reason(cluster: Cluster) -> None:
    scheduler = await cluster.start_scheduler()
    scheduler.kill()
    await cluster.eventually(lambda: scheduler.code is not None)
    cluster.controller.enrollment.dask_config.update({"distributed": {"comm": {"timeouts": {"connect": "1s"}}}})
    agent = cluster.start("default-9-abc234")
    await cluster.eventually(lambda: agent.code is not None)
    assert agent.code == 1
    assert "default-9-abc234 of cluster c1 failed: " in agent.log.splitlines()[-1]


async def test_a_lost_worker_is_reported_once_with_what_it_lost(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [agent, _other] = await cluster.start_workers(2)
    state = cluster.controller.state
    async with cluster.connect() as client:
        there = {"workers": state.workers[agent.process], "allow_other_workers": True, "pure": False}
        result = client.submit(tasks.block, 10, **there)
        [scattered] = await client.scatter([b"data"], workers=[state.workers[agent.process]])
        await result
        (cluster.directory / "hold-1").touch()
        running = client.submit(tasks.counted, str(cluster.directory), 1, **there)
        await cluster.eventually((cluster.directory / "runs").exists)
        os.killpg(agent.pid, signal.SIGKILL)
        await cluster.eventually(lambda: agent.process in state.left)
        left = state.left[agent.process]
        assert (left.retired, left.tasks_lost, left.results_lost, left.scattered_lost) == (False, 1, 1, 1)
        assert state.events == []
        del result, running, scattered


async def test_a_client_cannot_report_a_worker_as_lost(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    [agent] = await cluster.start_workers()
    state = cluster.controller.state
    async with cluster.connect() as client:
        lie = {"action": "remove-worker", "worker": state.workers[agent.process], "expected": False}
        await client.log_event("all", lie)
        await client.log_event("all", {"action": "remove-worker", "worker": ["no", "worker"]})
        assert await client.submit(sum, [1, 2]) == 3
        await cluster.eventually(lambda: state.activity.HasField("idle_since"))
    assert not state.left
    assert agent.process in state.workers
