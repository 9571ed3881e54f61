"""Each process is killed once with a computation running (the table in the design: "When something dies")."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.running import Running, wait_until
from tests.e2e.tasks import slow

from headrace import Gateway, GatewayCluster, errors


@pytest.fixture
def gateway(own_headrace: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(own_headrace.data))
    with Gateway() as gateway:
        yield gateway


@pytest.fixture
def cluster(gateway: Gateway) -> Iterator[GatewayCluster]:
    with gateway.new_cluster() as cluster:
        cluster.scale(2)
        yield cluster


@pytest.fixture
def client(cluster: GatewayCluster) -> Iterator[Any]:
    with cluster.get_client() as client:
        client.wait_for_workers(2, timeout=30)
        yield client


@pytest.mark.parametrize(
    "words",
    [
        ("headrace auth",),
        ("headrace controller",),
        ("headrace proxy",),
        ("envoy",),
        ("valkey",),
        ("zygote",),
        ("fork server",),
    ],
    ids=lambda words: words[0],
)
def test_clusters_compute_on_and_new_ones_start(
    own_headrace: Running, gateway: Gateway, client: Any, words: tuple[str, ...]
) -> None:
    futures = client.map(slow, range(60))
    own_headrace.find(*words).kill()
    assert sum(client.gather(futures)) == 1770
    with _create_with_patience(gateway) as second, second.get_client() as other:
        second.scale(1)
        assert other.submit(slow, 8).result(timeout=30) == 8
    assert len(gateway.list_clusters()) == 1


def test_a_killed_scheduler_fails_its_cluster_with_the_reason(gateway: Gateway, cluster: GatewayCluster) -> None:
    client: Any
    with cluster.get_client() as client:
        pid = client.run_on_scheduler(os.getpid)
    os.kill(pid, 9)
    wait_until(lambda: gateway.get_cluster(cluster.name).status.name == "FAILED", within=10)
    with pytest.raises(errors.GatewayClusterError, match="signal 9"):
        gateway.connect(cluster.name)


def test_a_killed_nanny_is_replaced(client: Any) -> None:
    nanny = next(iter(client.run(os.getpid, nanny=True).values()))
    os.kill(nanny, 9)
    client.wait_for_workers(2, timeout=30)
    wait_until(lambda: nanny not in client.run(os.getpid, nanny=True, on_error="ignore").values(), within=20)
    assert client.submit(slow, 2).result(timeout=30) == 2


def _create_with_patience(gateway: Gateway, within: float = 20) -> GatewayCluster:
    end = time.monotonic() + within
    while True:
        try:
            return gateway.new_cluster()
        except errors.GatewayServerError:
            if time.monotonic() > end:
                raise
