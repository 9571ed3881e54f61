"""A node that runs short evicts pods by itself, and pods that write too much: users hear why, and what to do."""

from __future__ import annotations

import pytest
from tests.kubernetes.faults.seen import MARKS, causes, runs, told_of
from tests.kubernetes.faults.system import System
from tests.kubernetes.faults.tasks import hold, write
from tests.kubernetes.running import until

from headrace import Gateway

pytestmark = MARKS


@pytest.mark.usefixtures("second")
def test_a_worker_for_which_its_node_has_no_memory_left_says_so_and_is_replaced(
    headrace: System, gateway: Gateway
) -> None:
    """The pods of that node may use 2 GiB together: this one is promised more, and takes it."""
    with gateway.new_cluster(profile="second", worker_memory="2.9 GiB") as cluster, cluster.get_client() as client:
        cluster.scale(1)
        client.wait_for_workers(1, timeout=120)
        before = headrace.names(cluster.name)
        future = client.submit(hold, 2200 << 20)
        until(lambda: headrace.names(cluster.name) - before, "it is replaced")
        future.cancel()
        until(lambda: "was evicted" in told_of(gateway, cluster.name, "evicted"), "the eviction is told")
        said = told_of(gateway, cluster.name, "evicted")
        assert "is being evicted from its node: The node was low on resource: memory." in said
        assert "raise worker_memory, or use smaller chunks" in said
        assert runs(gateway, cluster.name)


def test_a_worker_that_fills_its_volume_says_which_and_what_to_do(headrace: System, gateway: Gateway) -> None:
    """It has a second in which it hands its data over, so that headrace stops it before its node says why it ends."""
    with gateway.new_cluster(profile="small-disk") as cluster, cluster.get_client() as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=120)
        before = headrace.names(cluster.name)
        assert client.submit(write, 64 << 20).result() == 64 << 20
        until(lambda: headrace.names(cluster.name) - before, "it is replaced")
        until(
            lambda: causes(gateway, cluster.name) & {("WorkersClosed", "evicted"), ("WorkersLost", "evicted")},
            "its end is told",
        )
        said = told_of(gateway, cluster.name, "evicted")
        assert 'Usage of EmptyDir volume "headrace-scratch" exceeds the limit "16Mi": write less to /tmp' in said
        assert "raise scratch_size of the profile" in said
        assert runs(gateway, cluster.name)
