"""`helm uninstall`, with clusters that stay and without."""

from __future__ import annotations

from tests.kubernetes.chart.installation import Installation
from tests.kubernetes.running import until

BEGIN = """
    import uuid
    import headrace

    gateway = headrace.Gateway()
    cluster = gateway.new_cluster(shutdown_on_close=False)
    cluster.scale(1)
    client = cluster.get_client()
    client.publish_dataset(number=client.submit(uuid.uuid4, pure=False))
    print(cluster.name, client.get_dataset("number").result())
"""
CONTINUE = """
    import headrace

    with headrace.Gateway() as gateway:
        [found] = gateway.list_clusters()
        with gateway.connect(found.name) as cluster, cluster.get_client() as client:
            print(cluster.name, client.get_dataset("number").result())
"""


def test_clusters_compute_on_without_headrace_and_are_adopted_by_the_next_installation(
    installation: Installation,
) -> None:
    printed = installation.run("begin", BEGIN).splitlines()[-1]
    cluster = printed.split()[0]
    key = installation.secret("deployment-key")
    running = _running(installation, cluster)

    installation.upgrade("--set", "uninstall.keepClusters=true")
    installation.uninstall()
    assert running <= _running(installation, cluster)
    installation.install()
    assert installation.secret("deployment-key") == key
    assert installation.run("continue", CONTINUE).splitlines()[-1] == printed


def test_an_uninstallation_leaves_no_dask_pod_and_no_object_of_the_release(installation: Installation) -> None:
    installation.run("begin-again", BEGIN)
    assert installation.dask_pods()
    installation.uninstall()
    until(lambda: not installation.dask_pods(), "all Dask pods are removed")
    until(lambda: not _left(installation), "nothing of the release is left")


def _running(installation: Installation, cluster: str) -> set[str]:
    return {uid for uid, phase in installation.dask_pods(cluster).items() if phase == "Running"}


def _left(installation: Installation) -> list[str]:
    """What there still is of the release; Kubernetes removes what its Deployments made some time after them."""
    kinds = "all,roles,rolebindings,serviceaccounts,networkpolicies"
    found = installation.get(kinds, "-l", "app.kubernetes.io/name=headrace")["items"]
    return [each["metadata"]["name"] for each in found if each["kind"] != "Pod"]
