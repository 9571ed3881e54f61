"""Fewer workers are wanted while some wait for room: their pods go, and no node is bought for them."""

from __future__ import annotations

from tests.kubernetes.faults.seen import MARKS
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import Gateway

pytestmark = MARKS


def test_just_the_excess_of_waiting_workers_is_removed(headrace: System, gateway: Gateway) -> None:
    with gateway.new_cluster(worker_cores=500) as cluster:
        cluster.scale(5)
        until(lambda: len(headrace.names(cluster.name)) == 5, "five pods wait")
        first = headrace.names(cluster.name)
        cluster.scale(3)
        until(lambda: [str(worker.state) for worker in cluster.workers()].count("pending") == 3, "three are wanted")
        until(lambda: len(headrace.names(cluster.name)) <= 3, "the pods of the others go")
        left = headrace.names(cluster.name)
        assert len(left) == 3
        assert left < first
        cluster.scale(0)
        until(lambda: not headrace.names(cluster.name), "none waits")
        assert gateway.get_cluster(cluster.name).status.name == "RUNNING"
