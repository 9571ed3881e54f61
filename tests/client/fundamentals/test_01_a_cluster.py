"""The first steps: a cluster, a client, a result."""

from __future__ import annotations

import dask.array as da
from headrace import Gateway


def test_a_cluster_computes(gateway: Gateway) -> None:
    with gateway.new_cluster() as cluster:
        cluster.scale(2)
        with cluster.get_client():
            assert int(da.ones((100, 100), chunks=50).sum().compute()) == 10_000
