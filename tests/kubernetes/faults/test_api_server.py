"""The API server is away: clusters compute on, and new ones wait for it."""

from __future__ import annotations

from tests.kubernetes.faults.seen import MARKS, runs, startable, told
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import Gateway, GatewayCluster

pytestmark = MARKS


def test_while_it_is_away_clusters_compute_on_and_new_ones_wait(
    headrace: System, gateway: Gateway, cluster: GatewayCluster
) -> None:
    ending = gateway.new_cluster(shutdown_on_close=False)
    cluster.scale(1)
    with cluster.get_client() as client:
        client.wait_for_workers(1, timeout=120)
        before = headrace.ever(cluster.name)
        with headrace.api.away():
            waiting = gateway.submit()
            gateway.stop_cluster(ending.name)
            cluster.scale(2)
            for name in (waiting, cluster.name):
                until(
                    lambda name=name: "the Kubernetes API server does not answer" in startable(gateway, name),
                    f"{name} says what it waits for",
                )
            assert startable(gateway, waiting).startswith("The scheduler cannot be started: pod dask-")
            assert "does not answer" in told(gateway, waiting)["BackendFailed"]
            assert client.submit(sum, [1, 2]).result(timeout=60) == 3
            assert runs(gateway, cluster.name)
        until(lambda: runs(gateway, waiting), "the new one runs", within=120)
        client.wait_for_workers(2, timeout=120)
        assert startable(gateway, waiting) == ""
        until(lambda: not headrace.pods(ending.name), "what was stopped meanwhile has ended")
        assert before < headrace.ever(cluster.name)
    assert len(headrace.ever(waiting)) == 1
    assert len(headrace.ever(cluster.name)) == 1 + 2
