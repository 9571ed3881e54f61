"""What Kubernetes refuses for good fails within seconds, in its own words; what is only slow waits and says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.kubernetes.chart.installation import Installation

_CREATE = """
import headrace

with headrace.Gateway() as gateway:
    try:
        gateway.new_cluster(timeout=45)  # a start time-out would come later
    except headrace.errors.HeadraceError as error:
        print(type(error).__name__, getattr(error, "reason", ""), error)
"""
_SCALE = """
import time
import headrace

with headrace.Gateway() as gateway, gateway.new_cluster(worker_cores=500) as cluster:
    cluster.scale(2)
    while not (told := [event for event in cluster.events() if event.type == "Waiting"]):
        time.sleep(0.2)
    print("told", len(told), told[0].wait_reason, told[0].message)
    print("worker", [(worker.state, worker.wait_reason) for worker in cluster.workers()])
"""


@pytest.fixture
def full(installation: Installation) -> Iterator[None]:
    """A quota of pods that has room for the client, and nothing else."""
    pods = installation.get("pods")["items"]
    alive = sum(pod["status"]["phase"] in {"Pending", "Running"} for pod in pods)
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "full", "namespace": installation.namespace},
        "spec": {"hard": {"pods": str(alive + 1)}},
    }
    installation.kubernetes.apply(quota)
    yield
    installation.kubectl("delete", "resourcequota", "full")


@pytest.mark.usefixtures("full")
def test_a_quota_that_is_full_fails_a_cluster_in_the_words_of_kubernetes(installation: Installation) -> None:
    printed = installation.run("full-quota", _CREATE)
    assert "ClusterFailed QUOTA_EXCEEDED" in printed
    assert "exceeded quota: full" in printed


def test_workers_for_which_no_node_is_large_enough_wait_and_say_so(installation: Installation) -> None:
    printed = installation.run("too-large", _SCALE)
    assert "told 1 unschedulable Workers wait for room on a node: " in printed
    assert "nodes are available" in printed
    assert "worker [('pending', 'unschedulable'), ('pending', 'unschedulable')]" in printed
