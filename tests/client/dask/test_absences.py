"""What users see while the way to a scheduler is interrupted, and after it: real Dask behind a proxy that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import dask.config
import pytest
from tests.client.conftest import AsyncGateway
from tests.client.fake_headrace import FakeHeadrace
from tests.conftest import Eventually


@pytest.fixture(autouse=True)
def _through_the_proxy() -> Iterator[None]:
    with dask.config.set({"headrace.connect": "proxied"}):
        yield


async def test_calls_to_the_scheduler_wait(fake: FakeHeadrace, agateway: AsyncGateway, eventually: Eventually) -> None:
    async with agateway.new_cluster() as cluster, cluster.get_client() as made:
        client: Any = made
        await cluster.scale(1)
        await cluster.wait_for_workers(1)
        before = client.submit(sum, [1, 2])
        fake.proxy.go_away()
        await eventually(lambda: _access(cluster).absences.seconds is not None)
        calls = [
            asyncio.ensure_future(call)
            for call in (
                before,
                client.submit(sum, [2, 3]),
                client.run_on_scheduler(lambda: 7),
                client.who_has([before]),
                client.scatter(b"x" * 1_000_000, hash=False),
                client.gather([before]),
                client.scheduler.identity(),
                client.cluster.scheduler_comm.identity(),
                client.nthreads(),
                client.run(lambda: 8),
            )
        ]
        done, _ = await asyncio.wait(calls, timeout=1)
        assert not done
        fake.proxy.come_back()
        answers: list[Any] = await asyncio.gather(*calls)
        assert answers[:3] == [3, 5, 7]
        assert len(await answers[4].result()) == 1_000_000
        assert answers[5] == [3]


def _access(cluster: Any) -> Any:
    return cluster.security.get_connection_args("client")["ssl_context"].access
