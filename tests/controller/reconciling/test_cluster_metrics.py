"""What is counted for the metrics of all clusters."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import REGISTRY
from tests.controller.builders import new_cluster

from headrace_controller.meter import Meter, Rates
from headrace_controller.model import Cluster, Phase, Status
from headrace_controller.reconciling.cluster_metrics import ClusterMetrics

PROFILE = 'a "profile" of this test, ü'


def promised(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"headrace_controller_promised_{name}", {"profile": PROFILE})


def in_phase(phase: Phase) -> float | None:
    return REGISTRY.get_sample_value("headrace_controller_clusters", {"phase": phase})


def cluster(phase: Phase, rates: Rates) -> Cluster:
    made = new_cluster(spec=None, profile=PROFILE)
    return replace(made, status=Status(phase=phase), meter=Meter(rates=rates))


def test_phases_and_promises_follow_each_change() -> None:
    counting = ClusterMetrics()
    assert in_phase(Phase.QUEUED) == 0
    small = Rates(clusters=1, workers=2, cores=2500, memory=1024, gpus=1)
    first, second = cluster(Phase.STARTING, small), cluster(Phase.RUNNING, small)
    counting.added(first)
    counting.added(second)
    assert (in_phase(Phase.STARTING), in_phase(Phase.RUNNING)) == (1, 1)
    assert (promised("clusters"), promised("workers"), promised("cores"), promised("gpus")) == (2, 4, 5, 2)
    assert promised("memory_bytes") == 2 * 2**30

    ended = replace(first, status=Status(phase=Phase.STOPPED), meter=Meter())
    counting.updated(first, ended)
    assert (in_phase(Phase.STARTING), in_phase(Phase.STOPPED)) == (0, 1)
    assert (promised("clusters"), promised("cores")) == (1, 2.5)
    counting.removed(ended)
    counting.removed(second)
    assert (in_phase(Phase.STOPPED), in_phase(Phase.RUNNING)) == (0, 0)
    assert (promised("clusters"), promised("memory_bytes")) == (0, 0)
