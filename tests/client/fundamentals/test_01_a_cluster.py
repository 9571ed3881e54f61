"""The first steps: a cluster, some workers, a result."""

from __future__ import annotations

import dask.array as da

from headrace import Gateway


def test_a_cluster_computes(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        cluster.scale(2)
        with cluster.get_client():
            assert int(da.ones((100, 100), chunks=50).sum().compute()) == 10_000


def test_workers_follow_the_load(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.adapt(minimum=1, maximum=2)
        assert client.submit(sum, [1, 2, 3]).result(timeout=60) == 6


def test_one_may_wait_for_workers(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        assert len(client.scheduler_info()["workers"]) == 2


def test_a_cluster_ends_with_its_block(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        assert [report.name for report in gateway.list_clusters()] == [cluster.name]
    assert cluster.name not in [report.name for report in gateway.list_clusters("running")]


def test_a_cluster_may_outlive_its_block(gateway: Gateway) -> None:
    with gateway.new_cluster(shutdown_on_close=False) as cluster:
        name = cluster.name
    with gateway.connect(name) as same:
        assert same.name == name
        same.shutdown()
