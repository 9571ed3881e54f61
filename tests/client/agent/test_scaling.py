"""Adaptive scaling against a controller that grants each request."""

from __future__ import annotations

import pytest
from tests.client.agent import tasks
from tests.client.agent.running import Cluster

from headrace.internal.v1 import agent_service_pb2 as pb


@pytest.fixture
def adaptive(cluster: Cluster) -> Cluster:
    """Launches and retires workers as requested, as a controller does."""
    sizes: dict[str, int] = {"default": 0}
    cluster.controller.enrollment.adaptive_interval_seconds = 0.2
    cluster.controller.enrollment.dask_config.update({"distributed": {"adaptive": {"target-duration": "1s"}}})

    async def grant(request: pb.ScaleRequest) -> None:
        started = sum(agent.process.startswith(f"{request.group}-") for agent in cluster.started)
        alive = sum(p.startswith(f"{request.group}-") for p in cluster.controller.state.workers)
        sizes[request.group] = request.size
        for n in range(request.size - alive):
            cluster.start(f"{request.group}-{started + n}-abc234")
        cluster.controller.instruct(_instruction(sizes))

    cluster.controller.on_scale_request = grant
    cluster.controller.instruct(_instruction(sizes))
    return cluster


def _instruction(sizes: dict[str, int], minimum: int = 0) -> pb.SessionResponse:
    return pb.SessionResponse(
        adaptive_groups=[pb.AdaptiveGroup(group=g, minimum=minimum, maximum=3, desired=s) for g, s in sizes.items()],
        retire=[pb.RetireInstruction(group=g, keep=s) for g, s in sizes.items()],
    )


async def test_work_brings_workers_soon_and_its_end_takes_them_away(adaptive: Cluster) -> None:
    await adaptive.start_scheduler()
    state = adaptive.controller.state
    async with adaptive.connect() as client:
        futures = [client.submit(tasks.sleep, 0.2, n, pure=False) for n in range(20)]
        await adaptive.eventually(lambda: state.requested.get("default", 0) > 0)
        assert await client.gather(futures) == list(range(20))
        assert max(state.requested_sizes) == 3
        del futures
        await adaptive.eventually(lambda: not state.workers, within=60)
        assert state.requested["default"] == 0


async def test_new_work_is_seen_before_the_next_regular_check(cluster: Cluster) -> None:
    cluster.controller.enrollment.adaptive_interval_seconds = 60
    await cluster.start_scheduler()
    cluster.controller.instruct(_instruction({"default": 0}))
    async with cluster.connect() as client:
        future = client.submit(sum, [1, 2])
        await cluster.eventually(lambda: cluster.controller.state.requested.get("default") == 1)
        del future


async def test_the_minimum_is_requested_without_any_work(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    cluster.controller.instruct(_instruction({"default": 0}, minimum=2))
    await cluster.eventually(lambda: cluster.controller.state.requested.get("default") == 2)


async def test_a_size_is_requested_once(cluster: Cluster) -> None:
    cluster.controller.enrollment.adaptive_interval_seconds = 0.05
    await cluster.start_scheduler()
    cluster.controller.instruct(_instruction({"default": 0}, minimum=2))
    await cluster.eventually(lambda: cluster.controller.state.requested_sizes)
    async with cluster.connect() as client:
        for _ in range(10):
            await client.nthreads()
    assert cluster.controller.state.requested_sizes == [2]


async def test_a_size_that_is_desired_already_is_not_requested(cluster: Cluster) -> None:
    cluster.controller.enrollment.adaptive_interval_seconds = 0.05
    await cluster.start_scheduler()
    cluster.controller.instruct(_instruction({"default": 2}, minimum=2))
    await cluster.start_workers(2)
    assert cluster.controller.state.requested_sizes == []


async def test_a_range_without_a_maximum_asks_for_as_many_workers_as_tasks_can_use(cluster: Cluster) -> None:
    cluster.controller.enrollment.dask_config.update({"distributed": {"adaptive": {"target-duration": "1s"}}})
    await cluster.start_scheduler()
    cluster.controller.instruct(pb.SessionResponse(adaptive_groups=[pb.AdaptiveGroup(group="default")]))
    async with cluster.connect() as client:
        futures = [client.submit(tasks.sleep, 1, pure=False) for _ in range(40)]
        await cluster.eventually(lambda: cluster.controller.state.requested.get("default", 0) > 3)
        del futures
