"""A profile is moved to another namespace while clusters of it run: they stay where they are, and are not lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from tests.kubernetes.faults.seen import MARKS
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import ClusterStatus, Gateway, GatewayCluster

pytestmark = MARKS
PROFILE = "moved"
IN_FORCE = "a new policy is in force"


@pytest.fixture
def cluster(gateway: Gateway) -> Iterator[GatewayCluster]:
    with gateway.new_cluster(profile=PROFILE) as cluster:
        yield cluster


@pytest.fixture
def moved(headrace: System, cluster: GatewayCluster) -> Iterator[None]:
    """Now that there is a cluster of it, the profile names the namespace of all others; afterwards its own again."""
    assert headrace.pods(cluster.name, profile=PROFILE)
    policy = headrace.layout.data / "policy.yaml"
    before = policy.read_text()
    own = f"namespace: {headrace.namespace(PROFILE)}\n"
    assert own in before
    known = headrace.log().count(IN_FORCE)
    policy.write_text(before.replace(own, f"namespace: {headrace.name}\n"))
    until(lambda: headrace.log().count(IN_FORCE) > known, "the policy is in force")
    yield
    policy.write_text(before)


def test_a_cluster_stays_in_its_namespace_and_a_new_controller_finds_it_there(
    headrace: System, gateway: Gateway, cluster: GatewayCluster, moved: None
) -> None:
    new = gateway.submit(profile=PROFILE)
    until(lambda: headrace.pods(new), "a new cluster is where the profile says now")
    headrace.controller.end(signal.SIGKILL)
    headrace.controller.start()
    cluster.scale(1)
    with cluster.get_client() as client:
        client.wait_for_workers(1, timeout=120)
    assert len(headrace.pods(cluster.name, "worker", PROFILE)) == 1
    assert not headrace.pods(cluster.name)
    gateway.stop_cluster(cluster.name)
    until(lambda: gateway.get_cluster(cluster.name).status is ClusterStatus.STOPPED, "it has ended")
    until(lambda: not headrace.pods(cluster.name, profile=PROFILE), "no pod is left")
