"""Real nodes that are drained or disappear: users hear why their workers go, and lose nothing or little."""

from __future__ import annotations

from typing import Any

from distributed import Event, wait
from tests.kubernetes.faults.seen import MARKS, causes, runs, told_of
from tests.kubernetes.faults.system import System
from tests.kubernetes.faults.tasks import counted, gated
from tests.kubernetes.running import SecondNode, until

from headrace import Gateway

pytestmark = MARKS
LOST = 10


def test_workers_of_a_node_that_loses_power_are_replaced_and_compute_again(
    headrace: System, gateway: Gateway, second: SecondNode
) -> None:
    """Their connections stay open and silent for longer than this test may take."""
    with gateway.new_cluster(profile="second") as cluster, cluster.get_client() as client:
        cluster.scale(LOST)
        client.wait_for_workers(LOST, timeout=120)
        assert _nodes(headrace, cluster.name) == {second.name}
        futures = client.map(counted, range(40))
        wait(futures)
        running = client.submit(gated, 7)
        until(lambda: _begun(client) == 1, "it has begun")
        before = headrace.names(cluster.name)
        second.lose()
        until(lambda: len(headrace.names(cluster.name) - before) == LOST, "they are replaced")
        until(lambda: _begun(client) == 2, "what was running has begun again elsewhere")
        Event("gate", client).set()
        assert running.result() == 7
        assert _total(client, futures) == sum(range(40))
        until(lambda: ("WorkersLost", "node_lost") in causes(gateway, cluster.name), "the loss is told")
        assert "was lost with its node" in told_of(gateway, cluster.name, "node_lost")
        assert runs(gateway, cluster.name)


def test_a_worker_of_a_drained_node_hands_its_results_over(
    headrace: System, gateway: Gateway, second: SecondNode
) -> None:
    """To a worker elsewhere: where a cluster has none, a new one must start within the grace period."""
    with gateway.new_cluster(profile="second") as cluster, cluster.get_client() as client:
        headrace.kubernetes.kubectl("cordon", second.name)
        cluster.scale(1)
        client.wait_for_workers(1, timeout=120)
        second.uncordon()
        cluster.scale(2)
        client.wait_for_workers(2, timeout=120)
        assert _nodes(headrace, cluster.name) > {second.name}
        futures = client.map(counted, range(40))
        wait(futures)
        headrace.kubernetes.kubectl("drain", second.name, "--force", "--delete-emptydir-data", "--timeout=60s")
        until(lambda: second.name not in _nodes(headrace, cluster.name), "it has gone")
        assert _total(client, futures) == sum(range(40))
        computed: Any = client.get_events("runs")
        assert len(computed) == 40
        until(lambda: ("WorkersClosed", "evicted") in causes(gateway, cluster.name), "the eviction is told")
        client.wait_for_workers(2, timeout=60)


def _total(client: Any, futures: Any) -> int:
    return sum(client.gather(futures))


def _begun(client: Any) -> int:
    return len(client.get_events("begun"))


def _nodes(headrace: System, cluster: str) -> set[str]:
    return {str(pod["spec"].get("nodeName")) for pod in headrace.pods(cluster, "worker")}
