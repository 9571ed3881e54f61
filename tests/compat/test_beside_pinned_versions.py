"""A user's actions, with client and agent in an environment of pinned versions.

`make test-compat` runs it with the interpreter of each environment, against a headrace that runs elsewhere. Clusters
have `conda_prefix` set to this environment, so that their schedulers and workers run in it too.
"""

from __future__ import annotations

import asyncio
import operator
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version

import pytest

import headrace


@pytest.fixture(scope="module")
def gateway() -> Iterator[headrace.Gateway]:
    with headrace.Gateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def cluster(gateway: headrace.Gateway) -> Iterator[headrace.GatewayCluster]:
    with gateway.new_cluster(conda_prefix=sys.prefix) as cluster:
        yield cluster


def test_the_environment_has_the_pinned_versions() -> None:
    wanted = dict(pin.split("==") for pin in os.environ["HEADRACE_COMPAT"].split())
    assert {name: version(name) for name in wanted} == wanted


def test_the_cluster_runs_the_versions_of_this_environment(cluster: headrace.GatewayCluster) -> None:
    with cluster.get_client() as client:
        assert client.run_on_scheduler(version, "distributed") == version("distributed")


def test_workers_join_compute_and_restart(cluster: headrace.GatewayCluster) -> None:
    cluster.scale(2)
    with cluster.get_client() as client:
        client.wait_for_workers(2, timeout=60)
        assert client.submit(sum, range(100)).result(timeout=60) == 4950
        client.restart(timeout=60)
        assert client.submit(sum, range(10)).result(timeout=60) == 45


def test_workers_are_retired_when_scaled_down(cluster: headrace.GatewayCluster) -> None:
    cluster.scale(1)
    with cluster.get_client() as client:
        futures = client.map(operator.neg, range(20))
        assert client.submit(sum, futures).result(timeout=60) == -190


def test_adaptive_scaling_brings_workers(cluster: headrace.GatewayCluster) -> None:
    cluster.adapt(minimum=0, maximum=2)
    with cluster.get_client() as client:
        assert client.submit(operator.neg, 7).result(timeout=60) == -7


def test_logs_and_events_are_there(cluster: headrace.GatewayCluster) -> None:
    assert "Scheduler at" in str(cluster.logs("scheduler"))
    assert any(event.type == "Running" for event in cluster.events())


def test_the_server_has_the_version_of_the_client(gateway: headrace.Gateway) -> None:
    versions = gateway.get_versions()
    assert versions["server"] == versions["client"] == {"version": headrace.__version__}


def test_the_asynchronous_gateway_works() -> None:
    async def compute() -> int:
        async with (
            headrace.Gateway(asynchronous=True) as gateway,
            await gateway.new_cluster(conda_prefix=sys.prefix) as cluster,
            await cluster.get_client() as client,
        ):
            await cluster.scale(1)
            return await client.submit(operator.neg, 5)

    assert asyncio.run(compute()) == -5


def test_a_wrong_option_is_named(gateway: headrace.Gateway) -> None:
    with pytest.raises(ValueError, match="worker_memroy"):
        gateway.new_cluster(worker_memroy="1 GiB")
