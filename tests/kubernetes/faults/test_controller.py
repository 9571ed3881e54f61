"""The controller is killed at the worst moment, or while pods end: nothing is started twice, nothing is forgotten."""

from __future__ import annotations

import signal

from tests.kubernetes.faults.seen import MARKS, until_failed
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import Gateway, GatewayCluster

pytestmark = MARKS


def kill(headrace: System) -> None:
    headrace.controller.end(signal.SIGKILL)


def test_killed_before_it_hears_of_a_schedulers_pod_it_takes_that_one(headrace: System, gateway: Gateway) -> None:
    with headrace.api.unanswered():
        name = gateway.submit()
        until(lambda: headrace.pods(name), "the pod is created")
        before = headrace.ever(name)
        kill(headrace)
    headrace.controller.start()
    with gateway.connect(name):
        assert headrace.ever(name) == before
    gateway.stop_cluster(name)
    until(lambda: not headrace.pods(name), "the pod has ended")


def test_killed_before_it_hears_of_workers_pods_it_takes_these(
    headrace: System, gateway: Gateway, cluster: GatewayCluster
) -> None:
    with cluster.get_client() as client:
        with headrace.api.unanswered():
            cluster.scale(3)
            until(lambda: len(headrace.pods(cluster.name, "worker")) == 3, "the pods are created")
            before = headrace.ever(cluster.name)
            kill(headrace)
        headrace.controller.start()
        client.wait_for_workers(3, timeout=120)
        until(lambda: len(gateway.workers(cluster.name)) == 3, "the controller has them")
        assert headrace.ever(cluster.name) == before


def test_what_was_deleted_while_it_was_dead_is_found(
    headrace: System, gateway: Gateway, cluster: GatewayCluster
) -> None:
    theirs = gateway.new_cluster(shutdown_on_close=False)
    cluster.scale(1)
    with cluster.get_client() as client:
        client.wait_for_workers(1, timeout=120)
        deleted = headrace.pod(cluster.name, "worker")
        kill(headrace)
        pods = (deleted, headrace.pod(theirs.name, "scheduler"))
        headrace.kubernetes.kubectl("delete", "pod", *pods, "-n", headrace.name, "--grace-period=1")
        headrace.controller.start()
        until(lambda: headrace.names(cluster.name) - {deleted}, "the worker is replaced")
        client.wait_for_workers(1, timeout=60)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
    until_failed(gateway, theirs.name)
