"""The rate of requests that change something, and how many ended pods are kept."""

from __future__ import annotations

from tests.backends.kubernetes.pods import decoded, recorded

from headrace_backend_kubernetes.objects import Pod
from headrace_backend_kubernetes.pace import Pace
from headrace_backend_kubernetes.retention import surplus


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    now = 100.0
    pace = Pace(10, 3, clock=lambda: now)
    assert [round(pace.wait_seconds(), 3) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    now += 0.4
    assert round(pace.wait_seconds(), 3) == 0
    now += 1000  # a quiet time saves no more than a burst
    assert [round(pace.wait_seconds(), 3) for _ in range(4)] == [0, 0, 0, 0.1]


def _ended(cluster: str, name: str) -> Pod:
    pod = recorded("exit-3")
    pod["metadata"]["annotations"]["headrace.dev/cluster"] = cluster
    pod["metadata"]["name"] = name
    return decoded(pod)


def test_the_oldest_ended_pods_are_deleted_first() -> None:
    ended = [_ended(cluster, f"{cluster}{n}") for n in range(4) for cluster in "ab"]
    assert [pod.name for pod in surplus(ended, per_cluster=3, in_all=100)] == ["b0", "a0"]
    assert [pod.name for pod in surplus(ended, per_cluster=3, in_all=4)] == ["b1", "a1", "b0", "a0"]
    assert surplus(ended, per_cluster=4, in_all=8) == []
    assert len(surplus(ended, per_cluster=0, in_all=8)) == 8
