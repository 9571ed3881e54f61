"""Pods that end for reasons of Kubernetes' or by somebody's hand: nothing is computed again, and users hear why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Event, wait
from tests.kubernetes.faults.seen import MARKS, causes, until_failed
from tests.kubernetes.faults.system import System
from tests.kubernetes.faults.tasks import counted, gated
from tests.kubernetes.running import until

from headrace import Gateway, GatewayCluster

pytestmark = MARKS


@pytest.fixture
def cluster(gateway: Gateway) -> Iterator[GatewayCluster]:
    """Its workers have time to leave while others are late to hear of it."""
    with gateway.new_cluster(profile="patient") as cluster:
        yield cluster


def test_an_evicted_worker_hands_its_results_over_and_is_replaced(
    headrace: System, gateway: Gateway, cluster: GatewayCluster, client: Any
) -> None:
    futures = client.map(counted, range(40))
    wait(futures)
    workers = list(client.scheduler_info()["workers"])
    running = [client.submit(gated, number, workers=[worker]) for number, worker in enumerate(workers)]
    until(lambda: len(client.get_events("begun")) == len(workers) == 2, "all workers have something to do")
    headrace.evict(headrace.pod(cluster.name, "worker"))
    until(lambda: ("WorkersLeaving", "evicted") in causes(gateway, cluster.name), "that a worker leaves is told")
    Event("gate", client).set()
    until(lambda: ("WorkersClosed", "evicted") in causes(gateway, cluster.name), "the eviction is told")
    client.wait_for_workers(2, timeout=60)
    assert sum(client.gather(futures)) == sum(range(40))
    assert client.gather(running) == [0, 1]
    assert (len(client.get_events("runs")), len(client.get_events("begun"))) == (40, 2)


def test_an_eviction_that_the_controller_hears_of_after_the_worker_has_left_is_told(
    headrace: System, gateway: Gateway, cluster: GatewayCluster, client: Any
) -> None:
    """It has stopped the worker's pod by then, which had handed its results over."""
    futures = client.map(counted, range(40))
    wait(futures)
    with headrace.api.unanswered():
        headrace.evict(headrace.pod(cluster.name, "worker"))
        until(lambda: "closed" in {str(worker.state) for worker in cluster.workers()}, "the worker has left")
    until(lambda: ("WorkersClosed", "evicted") in causes(gateway, cluster.name), "the eviction is told")
    assert sum(client.gather(futures)) == sum(range(40))


def test_an_evicted_scheduler_ends_its_cluster(headrace: System, gateway: Gateway) -> None:
    cluster = gateway.new_cluster(shutdown_on_close=False)
    headrace.evict(headrace.pod(cluster.name, "scheduler"))
    assert "was evicted from its node" in until_failed(gateway, cluster.name)
    assert gateway.get_cluster(cluster.name).reason == "EVICTED"
    assert "Create a new cluster to continue." in gateway.get_cluster(cluster.name).message


def test_a_worker_that_is_deleted_by_hand_is_replaced(
    headrace: System, gateway: Gateway, cluster: GatewayCluster, client: Any
) -> None:
    pod = headrace.pod(cluster.name, "worker")
    headrace.kubernetes.kubectl("delete", "pod", pod, "-n", headrace.name, "--wait=false")
    until(lambda: {"deleted"} == {cause for _, cause in causes(gateway, cluster.name)}, "the deletion is told")
    until(lambda: len(headrace.pods(cluster.name, "worker")) == 2, "it is replaced")
    client.wait_for_workers(2, timeout=60)
    assert client.submit(sum, [1, 2]).result(timeout=60) == 3


def test_a_deletion_that_the_controller_hears_of_after_the_worker_has_left_is_told(
    headrace: System, gateway: Gateway, cluster: GatewayCluster, client: Any
) -> None:
    pod = headrace.pod(cluster.name, "worker")
    with headrace.api.unanswered():
        headrace.kubernetes.kubectl("delete", "pod", pod, "-n", headrace.name, "--wait=false")
        until(lambda: "closed" in {str(worker.state) for worker in cluster.workers()}, "the worker has left")
    until(lambda: ("WorkersClosed", "deleted") in causes(gateway, cluster.name), "the deletion is told")


def test_a_scheduler_that_is_deleted_by_hand_ends_its_cluster(headrace: System, gateway: Gateway) -> None:
    cluster = gateway.new_cluster(shutdown_on_close=False)
    pod = headrace.pod(cluster.name, "scheduler")
    headrace.kubernetes.kubectl("delete", "pod", pod, "-n", headrace.name, "--wait=false")
    assert "was deleted, and not by headrace" in until_failed(gateway, cluster.name)
    assert gateway.get_cluster(cluster.name).reason == "DELETED"
