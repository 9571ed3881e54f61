"""The client's get-or-create at two real controllers: one name, one cluster, one creator."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest
from redis.asyncio import Redis
from tests.contract.connection_of_ann import ConnectionOfAnn
from tests.controller.running import site

from headrace import errors
from headrace._wire import calls
from headrace._wire.connection import Connection
from headrace._wire.creating import Wanted, get_or_create
from headrace._wire.option_values import option_values
from headrace._wire.watch import wait_until_ended, wait_until_running
from headrace.v1 import cluster_pb2


@pytest.fixture
async def connections(redis_url: str, redis: Redis) -> AsyncIterator[list[Connection]]:
    """One to each of two controllers of a deployment."""
    _ = redis  # flushed
    directory = Path(tempfile.mkdtemp(prefix="hrg-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        deployment = await stack.enter_async_context(site(directory, redis_url))
        replicas = [await deployment.replica(name) for name in ("a", "b")]
        channels = [await stack.enter_async_context(grpc.aio.insecure_channel(one.endpoint)) for one in replicas]
        yield [ConnectionOfAnn(channel) for channel in channels]


def named(**options: object) -> Wanted:
    spec = cluster_pb2.ClusterSpec(alias="analysis", options=option_values(options))
    return Wanted(spec, frozenset(options))


async def test_two_notebooks_at_once_get_one_cluster_that_one_of_them_created(connections: list[Connection]) -> None:
    made = await asyncio.gather(*(get_or_create(connection, named()) for connection in connections for _ in range(5)))
    assert len({cluster.name for cluster, _ in made}) == 1
    assert sum(created for _, created in made) == 1
    waits = [
        wait_until_running(connection, cluster, lambda _: None, timeout=30)
        for connection, (cluster, _) in zip(connections * 5, made, strict=True)
    ]
    assert {cluster.status.phase for cluster in await asyncio.gather(*waits)} == {cluster_pb2.PHASE_RUNNING}


async def test_one_that_ends_in_between_is_replaced(connections: list[Connection]) -> None:
    one, other = connections
    for _ in range(5):
        old, _ = await get_or_create(one, named())
        _, (new, created) = await asyncio.gather(calls.stop(one, old.name), get_or_create(other, named()))
        if created:
            assert new.name != old.name
        await calls.stop(one, new.name)
        await wait_until_ended(other, new.name)


async def test_other_options_are_named_and_the_same_ones_are_not(connections: list[Connection]) -> None:
    one, other = connections
    cluster, _ = await get_or_create(one, named(worker_memory="1 GiB", worker_cores=2))
    same, created = await get_or_create(other, named(worker_memory=2**30, worker_cores=2.0))
    assert (same.name, created) == (cluster.name, False)
    assert (await get_or_create(other, named(worker_threads=0)))[0].name == cluster.name
    with pytest.raises(errors.OptionsDiffer, match=r"worker_cores is 2\.0, not 3\.0"):
        await get_or_create(other, named(worker_cores=3))
