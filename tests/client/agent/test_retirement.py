"""Workers are retired as instructed, and no result is lost."""

from __future__ import annotations

import asyncio

from tests.client.agent import tasks
from tests.client.agent.running import Cluster

from headrace.internal.v1 import agent_service_pb2 as pb
from headrace.v1 import cluster_pb2


def _keep(count: int, group: str = "default") -> pb.SessionResponse:
    return pb.SessionResponse(retire=[pb.RetireInstruction(group=group, keep=count)])


async def test_retiring_moves_results_to_workers_that_stay(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    agents = await cluster.start_workers(3)
    async with cluster.connect() as client:
        addresses = dict(cluster.controller.state.workers)
        futures = [
            client.submit(tasks.block, 1000 + n, workers=addresses[agent.process], pure=False)
            for n, agent in enumerate(agents)
        ]
        before = await client.gather(futures)
        cluster.controller.instruct(_keep(1))
        await cluster.eventually(lambda: len(cluster.controller.state.retired) == 2)
        assert len(cluster.controller.state.workers) == 1
        assert await client.gather(futures) == before  # random bytes: computed again, they would differ
        await cluster.eventually(lambda: sorted(a.code == 0 for a in agents) == [False, True, True])


async def test_an_instruction_holds_for_workers_that_join_later(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    cluster.controller.instruct(_keep(1))
    await cluster.start_workers(1)
    cluster.start("default-7-abc234")
    await cluster.eventually(lambda: len(cluster.controller.state.retired) == 1)


async def test_only_workers_of_the_named_group_are_chosen(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers(1, group="big-gpu")
    await cluster.start_workers(2)
    cluster.controller.instruct(_keep(0))
    await cluster.eventually(lambda: len(cluster.controller.state.retired) == 2)
    assert [p.rsplit("-", 2)[0] for p in cluster.controller.state.workers] == ["big-gpu"]


async def test_idle_workers_go_before_busy_ones(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    busy, _idle = await cluster.start_workers(2)
    async with cluster.connect() as client:
        held = cluster.directory / "hold-5"
        held.touch()
        there = cluster.controller.state.workers[busy.process]
        future = client.submit(tasks.counted, str(cluster.directory), 5, workers=there)
        await cluster.eventually((cluster.directory / "runs").exists)
        cluster.controller.instruct(_keep(1))
        await cluster.eventually(lambda: len(cluster.controller.state.retired) == 1)
        assert list(cluster.controller.state.workers) == [busy.process]
        held.unlink()
        assert await future == 5


async def test_the_last_worker_stays_while_it_holds_the_only_copy_which_is_reported(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers(1)
    state = cluster.controller.state
    async with cluster.connect() as client:
        future = client.submit(tasks.block, 1000)
        await future
        cluster.controller.instruct(_keep(0))
        await cluster.eventually(lambda: [e.type for e in state.events] == [cluster_pb2.EVENT_TYPE_RETIREMENT_DELAYED])
        assert not state.retired
        future.release()
        await cluster.eventually(lambda: len(state.retired) == 1)


async def test_a_newer_instruction_replaces_the_older(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers(2)
    state = cluster.controller.state
    async with cluster.connect() as client:
        futures = await client.scatter([1, 2])
        cluster.controller.instruct(_keep(0))
        await cluster.eventually(lambda: state.events)
        retired = len(state.retired)
        # What it asks for besides shows that it is in force.
        other = pb.AdaptiveGroup(group="other", minimum=1, maximum=1)
        cluster.controller.instruct(pb.SessionResponse(adaptive_groups=[other]))
        await cluster.eventually(lambda: state.requested == {"other": 1})
        for future in futures:
            future.release()
        [agent] = await cluster.start_workers(1)
        assert agent.process in state.workers
        assert len(state.retired) == retired


async def test_workers_that_wait_to_be_retired_are_not_chosen_twice(cluster: Cluster) -> None:
    """Dask retires none while it replicates results. Meanwhile others may have become the cheapest."""
    await cluster.start_scheduler()
    await cluster.start_workers(4)
    state = cluster.controller.state
    hold = cluster.directory / "hold-gather"
    async with cluster.connect() as client:
        holder, cheapest, _, target = await client.run_on_scheduler(tasks.workers)
        result = await client.scatter(b"x" * 1000, workers=[holder])
        hold.touch()
        await client.run(tasks.gather_late, str(cluster.directory), workers=[target])
        replicating = asyncio.ensure_future(client.replicate([result], n=2, workers=[holder, target]))
        await cluster.eventually((cluster.directory / "gathers").exists)
        await _keep_and_check(cluster, 3, check=1)
        other = await client.scatter(b"y" * 1000, workers=[cheapest], hash=False)
        await _keep_and_check(cluster, 3, check=2)
        hold.unlink()
        await replicating
        await cluster.eventually(lambda: cheapest not in state.workers.values())
        assert len(state.workers) == 3
        assert await other == b"y" * 1000


async def _keep_and_check(cluster: Cluster, count: int, *, check: int) -> None:
    """Instructs, and waits until the scheduler was checked since: a check asks for as many others as its number."""
    instruction = _keep(count)
    instruction.adaptive_groups.add(group="other", minimum=check, maximum=check)
    cluster.controller.instruct(instruction)
    await cluster.eventually(lambda: cluster.controller.state.requested == {"other": check})
