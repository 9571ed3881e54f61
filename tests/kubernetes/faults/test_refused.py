"""What Kubernetes refuses for good, users hear within seconds and in its own words; what is only slow waits."""

from __future__ import annotations

import pytest
from tests.kubernetes.faults.conftest import MISSING
from tests.kubernetes.faults.seen import MARKS, failed, startable, told, until_failed
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import Gateway, GatewayCluster

pytestmark = MARKS


@pytest.mark.usefixtures("registry")
def test_an_image_that_does_not_exist_is_named_with_what_the_registry_says(gateway: Gateway) -> None:
    failure = failed(gateway, "missing")
    assert failure.reason == "IMAGE_UNAVAILABLE"
    assert f"{MISSING}: not found" in str(failure)
    assert "Check the name of the image" in str(failure)


def test_pods_that_the_namespace_does_not_admit_are_refused_with_the_field(headrace: System, gateway: Gateway) -> None:
    name = headrace.namespace("strict")
    headrace.kubernetes.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    until(lambda: "PodSecurity" in headrace.kubernetes.refusal(name, hostPID=True), "it is in force")
    failure = failed(gateway, "strict")
    assert failure.reason == "REFUSED"
    assert 'violates PodSecurity "restricted:latest": host namespaces (hostPID=true)' in str(failure)
    assert "Choose other options, or ask an administrator." in str(failure)


def test_a_broken_template_in_a_changed_policy_changes_nothing_for_users(headrace: System, gateway: Gateway) -> None:
    file = headrace.layout.data / "policy.yaml"
    before = file.read_text()
    field = "profiles.broken.settings.extra_pod_config.nodeSelektor"
    file.write_text(f"{before}  broken: {{settings: {{extra_pod_config: {{nodeSelektor: {{a: b}}}}}}}}\n")
    try:
        until(lambda: field in headrace.log(), "the policy is refused")
        assert f"{field}: there is no such field" in headrace.log()
        assert "broken" not in {profile.key for profile in gateway.profiles()}
        gateway.new_cluster().close()
    finally:
        file.write_text(before)


def test_without_the_right_to_create_pods_a_cluster_fails_with_it(headrace: System, gateway: Gateway) -> None:
    with headrace.without("pods", "create"):
        failure = failed(gateway)
    assert failure.reason == "REFUSED"
    assert 'cannot create resource "pods" in API group "" in the namespace' in str(failure)


def test_a_quota_without_room_fails_a_cluster_and_leaves_out_workers(headrace: System, gateway: Gateway) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small", "namespace": headrace.namespace("full")},
        "spec": {"hard": {"pods": "2"}},
    }
    headrace.kubernetes.apply(quota)
    counted = ("resourcequota", "small", "-n", headrace.namespace("full"))
    # Until Kubernetes has counted, it admits every pod.
    until(lambda: headrace.kubernetes.get(*counted).get("status", {}).get("hard"), "the quota is in force")
    with gateway.new_cluster(profile="full") as cluster:
        cluster.scale(4)
        until(lambda: "exceeded quota: small" in startable(gateway, cluster.name), "the quota is told")
        cluster.wait_for_workers(1, timeout=60)
        assert "limited: pods=2" in startable(gateway, cluster.name)
        failure = failed(gateway, "full")
        assert failure.reason == "QUOTA_EXCEEDED"
        assert "exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2" in str(failure)
        assert gateway.get_cluster(cluster.name).status.name == "RUNNING"


def test_a_namespace_that_is_deleted_under_us_ends_its_clusters_and_no_others(
    headrace: System, gateway: Gateway, cluster: GatewayCluster
) -> None:
    name = headrace.namespace("gone")
    theirs = gateway.new_cluster(profile="gone", shutdown_on_close=False)
    headrace.kubernetes.kubectl("delete", "namespace", name, "--wait=false")
    assert "was deleted, and not by headrace" in until_failed(gateway, theirs.name)
    assert gateway.get_cluster(theirs.name).reason == "DELETED"
    headrace.kubernetes.kubectl("wait", "namespace", name, "--for=delete", "--timeout=120s")
    failure = failed(gateway, "gone")
    assert failure.reason == "REFUSED"
    assert f'namespaces "{name}" not found' in str(failure)
    assert gateway.get_cluster(cluster.name).status.name == "RUNNING"
    headrace.kubernetes.kubectl("create", "namespace", name)
    until(lambda: headrace.kubernetes.kubectl("get", "serviceaccount", "default", "-n", name), f"{name} is usable")
    gateway.new_cluster(profile="gone").close()


def test_workers_for_which_no_node_is_large_enough_wait_and_say_so(gateway: Gateway) -> None:
    with gateway.new_cluster(worker_cores=500) as cluster:
        cluster.scale(2)
        wait = "Workers wait for room on a node: "  # a scheduler's own wait may have been told before
        until(lambda: told(gateway, cluster.name).get("Waiting", "").startswith(wait), "the wait is told")
        assert "nodes are available" in told(gateway, cluster.name)["Waiting"]
        until(
            lambda: [str(worker.wait_reason) for worker in cluster.workers()] == ["unschedulable"] * 2,
            "both are said to wait",
        )
