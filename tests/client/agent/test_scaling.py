"""Adaptive scaling against a controller that grants what is wished."""

from __future__ import annotations

import pytest
from tests.client.agent import tasks
from tests.client.agent.running import Cluster

from headrace.internal.v1 import agent_service_pb2 as pb


@pytest.fixture
def adaptive(cluster: Cluster) -> Cluster:
    """Starts workers and orders retirement as wished, as a controller does."""
    sizes: dict[str, int] = {"default": 0}
    cluster.controller.enrollment.adaptive_interval_seconds = 0.2
    cluster.controller.enrollment.dask_config.update({"distributed": {"adaptive": {"target-duration": "1s"}}})

    async def grant(wish: pb.AdaptiveWish) -> None:
        started = sum(agent.process.startswith(f"{wish.group}-") for agent in cluster.started)
        alive = sum(p.startswith(f"{wish.group}-") for p in cluster.controller.state.workers)
        sizes[wish.group] = wish.size
        for n in range(wish.size - alive):
            cluster.start(f"{wish.group}-{started + n}-abc234")
        cluster.controller.instruct(_instruction(sizes))

    cluster.controller.on_wish = grant
    cluster.controller.instruct(_instruction(sizes))
    return cluster


def _instruction(sizes: dict[str, int], minimum: int = 0) -> pb.SessionResponse:
    return pb.SessionResponse(
        adaptive_groups=[pb.AdaptiveGroup(group=g, minimum=minimum, maximum=3, size=s) for g, s in sizes.items()],
        retire=[pb.RetireOrder(group=g, keep=s) for g, s in sizes.items()],
    )


async def test_work_brings_workers_soon_and_its_end_takes_them_away(adaptive: Cluster) -> None:
    await adaptive.start_scheduler()
    state = adaptive.controller.state
    async with adaptive.connect() as client:
        futures = [client.submit(tasks.sleep, 0.2, n, pure=False) for n in range(20)]
        await adaptive.eventually(lambda: state.wishes.get("default", 0) > 0, within=2)
        assert await client.gather(futures) == list(range(20))
        assert max(state.wish_history) == 3
        del futures
        await adaptive.eventually(lambda: not state.workers, within=20)
        assert state.wishes["default"] == 0


async def test_new_work_is_looked_at_before_the_next_regular_look(cluster: Cluster) -> None:
    cluster.controller.enrollment.adaptive_interval_seconds = 60
    await cluster.start_scheduler()
    cluster.controller.instruct(_instruction({"default": 0}))
    async with cluster.connect() as client:
        future = client.submit(sum, [1, 2])
        await cluster.eventually(lambda: cluster.controller.state.wishes.get("default") == 1, within=2)
        del future


async def test_the_minimum_is_wished_for_without_any_work(cluster: Cluster) -> None:
    await cluster.start_scheduler()
    cluster.controller.instruct(_instruction({"default": 0}, minimum=2))
    await cluster.eventually(lambda: cluster.controller.state.wishes.get("default") == 2, within=2)


async def test_a_wish_is_told_once(cluster: Cluster) -> None:
    cluster.controller.enrollment.adaptive_interval_seconds = 0.05
    await cluster.start_scheduler()
    cluster.controller.instruct(_instruction({"default": 0}, minimum=2))
    await cluster.eventually(lambda: cluster.controller.state.wish_history)
    async with cluster.connect() as client:
        for _ in range(10):
            await client.nthreads()
    assert cluster.controller.state.wish_history == [2]


async def test_workers_that_are_wanted_already_are_not_wished_for(cluster: Cluster) -> None:
    cluster.controller.enrollment.adaptive_interval_seconds = 0.05
    await cluster.start_scheduler()
    cluster.controller.instruct(_instruction({"default": 2}, minimum=2))
    await cluster.start_workers(2)
    assert cluster.controller.state.wish_history == []
