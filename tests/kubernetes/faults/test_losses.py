"""Workers that are lost with their memory or with their node: they are replaced, and users hear why."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.faults.conftest import LOST_NODE
from tests.kubernetes.faults.seen import MARKS, causes, told
from tests.kubernetes.faults.system import System
from tests.kubernetes.faults.tasks import fill
from tests.kubernetes.running import lose, pretended_node, until

from headrace import Gateway, GatewayCluster

pytestmark = MARKS


def test_a_worker_that_takes_too_much_memory_says_so(gateway: Gateway, cluster: GatewayCluster, client: Any) -> None:
    """The kernel ends its process or, by the node's settings, all processes of its pod."""
    future = client.submit(fill, 4 << 30)
    until(lambda: "WorkersLost" in told(gateway, cluster.name), "it is told")
    assert "memory" in next(event.message for event in cluster.events() if event.type == "WorkersLost")
    future.cancel()
    client.wait_for_workers(2, timeout=60)


def test_workers_of_a_node_that_disappears_are_replaced(headrace: System, gateway: Gateway) -> None:
    """Pretended nodes, whose workers never join: a real one of the test's only node would take the scheduler along."""
    with pretended_node(headrace.kubernetes, LOST_NODE) as node, gateway.new_cluster(profile="nodes") as cluster:
        cluster.scale(10)
        until(lambda: len(_running(headrace, cluster.name, node)) == 10, "ten workers run there")
        before = headrace.names(cluster.name)
        lose(headrace.kubernetes, node)
        until(lambda: len(headrace.names(cluster.name) - before) == 10, "they are replaced")
        until(lambda: "node_lost" in {cause for _, cause in causes(gateway, cluster.name)}, "the loss is told")
        assert "lost with its node" in " ".join(told(gateway, cluster.name).values())
        assert gateway.get_cluster(cluster.name).status.name == "RUNNING"


def _running(headrace: System, cluster: str, node: str) -> list[str]:
    pods = headrace.pods(cluster, "worker")
    return [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == node and _runs(pod)]


def _runs(pod: dict[str, Any]) -> bool:
    return pod["status"]["phase"] == "Running"
