"""A right is missing while clusters run: what can go on does, and the log says which right it is."""

from __future__ import annotations

from tests.kubernetes.faults.seen import MARKS, runs
from tests.kubernetes.faults.system import System
from tests.kubernetes.running import until

from headrace import Gateway, GatewayCluster

pytestmark = MARKS


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
