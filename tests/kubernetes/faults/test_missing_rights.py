"""A right is missing while clusters run: what can go on does, and the log says which right it is."""

from __future__ import annotations

import pytest
from tests.kubernetes.faults.seen import MARKS, runs
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import ClusterStatus, Gateway, GatewayCluster, errors

pytestmark = MARKS
MAY_NOT_REVIEW = "may not create tokenreviews"


def test_without_the_right_to_watch_it_says_so_and_goes_on_afterwards(
    headrace: System, gateway: Gateway, cluster: GatewayCluster
) -> None:
    with headrace.without("pods", "watch"):
        headrace.api.cut()
        until(lambda: 'cannot watch resource "pods"' in headrace.log(), "the log says so")
        waiting = gateway.submit()
        until(lambda: headrace.pods(waiting), "a pod is created all the same")
        assert runs(gateway, cluster.name)
    until(lambda: runs(gateway, waiting), "the new one runs")
    assert len(headrace.ever(waiting)) == 1


def test_without_the_right_to_read_logs_users_hear_which_right_it_is(headrace: System, cluster: GatewayCluster) -> None:
    with headrace.without("pods/log", "get"):
        with pytest.raises(errors.HeadraceError) as raised:
            cluster.logs()
        assert 'cannot get resource "pods/log" in API group "" in the namespace' in str(raised.value)
    assert "scheduler" in cluster.logs()


def test_without_the_right_to_review_tokens_a_cluster_waits_for_its_scheduler_and_the_log_says_why(
    headrace: System, gateway: Gateway
) -> None:
    said = headrace.log().count(MAY_NOT_REVIEW)
    with headrace.without("tokenreviews", "create"):
        name = gateway.submit()
        until(lambda: headrace.log().count(MAY_NOT_REVIEW) > said, "the log says so")
        waits = "The scheduler's process runs. Waiting for it to report."
        until(lambda: gateway.get_cluster(name).message == waits, "the user hears what is waited for")
    until(lambda: runs(gateway, name), "it runs once the right is there")


def test_without_the_right_to_change_pods_a_cluster_is_stopping_until_it_is_back(
    headrace: System, gateway: Gateway, cluster: GatewayCluster
) -> None:
    with headrace.without("pods", "patch"):
        gateway.stop_cluster(cluster.name)
        until(lambda: 'cannot patch resource "pods"' in headrace.log(), "the log says so")
        assert gateway.get_cluster(cluster.name).status is ClusterStatus.STOPPING
        assert headrace.pods(cluster.name)
    until(lambda: gateway.get_cluster(cluster.name).status is ClusterStatus.STOPPED, "it has ended")
    until(lambda: not headrace.pods(cluster.name), "no pod is left")
