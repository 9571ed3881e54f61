"""Kubernetes ends pods, as of a drained node or a spot machine: nothing is computed again, and users hear why."""

from __future__ import annotations

import json

from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import until

_PRELUDE = """
import time
import headrace
from distributed import get_worker, wait

def counted(number):
    get_worker().log_event("runs", number)
    return number

def told(events, *types):
    return {event.type: event for event in events if event.type in types}
"""


def evict(installation: Installation, cluster: str, component: str) -> None:
    """Evicts a pod of a cluster by the API that `kubectl drain` uses."""
    selector = f"headrace.dev/cluster={cluster},app.kubernetes.io/component={component}"
    pod = installation.get("pods", "-l", selector)["items"][0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{installation.namespace}/pods/{pod}/eviction"
    installation.kubernetes.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def cluster_of(installation: Installation, client: str) -> str:
    """The cluster that a client says it is ready with."""

    def ready() -> str:
        lines = [line.split() for line in installation.log(client).splitlines()]
        return next((words[1] for words in lines if words[:1] == ["ready"]), "")

    return str(until(ready, f"{client} is ready", within=120))


def test_an_evicted_worker_hands_its_results_over_and_is_replaced(installation: Installation) -> None:
    installation.begin(
        "evicted-worker",
        _PRELUDE
        + """
with headrace.Gateway() as gateway, gateway.new_cluster() as cluster:
    cluster.scale(2)
    with cluster.get_client() as client:
        client.wait_for_workers(2)
        futures = client.map(counted, range(40))
        wait(futures)
        print("ready", cluster.name)
        while len(found := told(cluster.events(), "WorkersLeaving", "WorkersClosed", "WorkersLost")) < 2:
            time.sleep(0.2)
        client.wait_for_workers(2)
        assert sum(client.gather(futures)) == sum(range(40))
        print("runs", len(client.get_events("runs")))
        for event in found.values():
            print("told", event.type, event.exit_cause)
""",
    )
    evict(installation, cluster_of(installation, "evicted-worker"), "worker")
    printed = installation.finish("evicted-worker")
    assert "runs 40" in printed
    assert "told WorkersLeaving evicted" in printed
    assert "told WorkersClosed evicted" in printed


def test_an_evicted_scheduler_ends_its_cluster_with_the_reason(installation: Installation) -> None:
    installation.begin(
        "evicted-scheduler",
        _PRELUDE
        + """
with headrace.Gateway() as gateway:
    cluster = gateway.new_cluster(shutdown_on_close=False)
    print("ready", cluster.name)
    while (report := gateway.get_cluster(cluster.name)).status != "failed":
        time.sleep(0.2)
    print("reason", report.reason, report.message)
    print("told", *sorted(told(gateway.events(cluster.name), "SchedulerLeaving")))
""",
    )
    evict(installation, cluster_of(installation, "evicted-scheduler"), "scheduler")
    printed = installation.finish("evicted-scheduler")
    assert "reason EVICTED The scheduler's process was evicted from its node" in printed
    assert "told SchedulerLeaving" in printed
