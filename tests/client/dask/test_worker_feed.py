"""What an object of a cluster knows about its workers, however many objects there are."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import dask.config
import pytest
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually

from headrace import Gateway, GatewayCluster
from headrace._dask import worker_feed

IDENTITY, SUBSCRIBE = "identity", "subscribe_worker_status"


def _count(cluster: GatewayCluster[Any]) -> int:
    return len(cluster.scheduler_info["workers"])


async def test_each_object_of_a_cluster_follows_its_workers(gateway: Gateway, eventually: Eventually) -> None:
    with gateway.new_cluster(name="shared") as first, gateway.new_cluster(name="shared") as second:
        first.scale(2)
        first.wait_for_workers(2)
        await eventually(lambda: _count(second) == 2)
        third = gateway.connect("shared")
        first.scale(1)
        await eventually(lambda: [_count(cluster) for cluster in (first, second, third)] == [1, 1, 1])
        third.close()
        first.scale(3)
        await eventually(lambda: [_count(cluster) for cluster in (first, second)] == [3, 3])


@pytest.mark.parametrize("grace", [0, "10m"])
async def test_it_follows_again_after_an_absence(
    fake: FakeHeadrace, gateway: Gateway, eventually: Eventually, grace: int | str
) -> None:
    """With a session, it goes on; without, it begins again."""
    settings = {"headrace.connect": "proxied", "headrace.session-grace": grace}
    with dask.config.set(settings), gateway.new_cluster() as cluster:
        cluster.scale(1)
        cluster.wait_for_workers(1)
        fake.proxy.go_away()
        workers = fake.clusters[cluster.name].workers
        for count in (2, 1, 3):
            cluster.scale(count)
            await eventually(lambda count=count: len(workers) == count)
        fake.proxy.come_back()
        await eventually(lambda: set(cluster.scheduler_info["workers"]) == {worker.address for worker in workers})


async def test_a_scheduler_that_does_not_answer_is_asked_again(
    fake: FakeHeadrace, agateway: AsyncGateway, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(worker_feed, "_ANSWER_SECONDS", 0.2)
    async with agateway.new_cluster() as cluster:
        handlers = fake.clusters[cluster.name].scheduler.handlers
        answers, asked = dict(handlers), Counter[str]()

        async def identity(**question: Any) -> Any:
            asked[IDENTITY] += 1
            if asked[IDENTITY] == 1:
                await asyncio.Event().wait()
            if asked[IDENTITY] == 2:
                raise OSError("the disk is full")
            return answers[IDENTITY](**question)

        async def subscribe(comm: object) -> Any:
            asked[SUBSCRIBE] += 1
            if asked[IDENTITY] < 3:
                await asyncio.Event().wait()
            return answers[SUBSCRIBE](comm)

        handlers |= {IDENTITY: identity, SUBSCRIBE: subscribe}
        await cluster.scale(1)
        async with asyncio.timeout(60):
            await cluster.wait_for_workers(1)
        await cluster.scale(2)
        await eventually(lambda: len(cluster.scheduler_info["workers"]) == 2)
        assert asked[SUBSCRIBE] > 1


async def test_an_answer_that_is_older_than_a_change_does_not_undo_it(
    fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually
) -> None:
    async with agateway.new_cluster() as cluster:
        await cluster.scale(1)
        await cluster.wait_for_workers(1)
        handlers = fake.clusters[cluster.name].scheduler.handlers
        answer = handlers[IDENTITY]
        answered: list[Any] = []

        async def identity(**question: Any) -> Any:
            answered.append(answer(**question))
            while _count(cluster) < 3:  # noqa: ASYNC110 what the stream of changes has told the object
                await asyncio.sleep(0.01)
            return answered[-1]

        handlers[IDENTITY] = identity
        await cluster.scale(2)
        await eventually(lambda: _count(cluster) == 2)
        waiting = asyncio.ensure_future(cluster.wait_for_workers(2))
        await eventually(lambda: answered)
        await cluster.scale(3)
        await waiting
        assert len(answered[0]["workers"]) == 2
        assert _count(cluster) == 3
