"""What is counted for the metrics of all clusters."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import REGISTRY
from tests.controller.builders import NOW, event, new_cluster

from headrace.v1.enums import EventType
from headrace_controller.meter import Meter, Rates
from headrace_controller.model import Cluster, ClusterId, EndReason, Phase, Queued, Status
from headrace_controller.reconciling.cluster_metrics import ClusterMetrics
from headrace_controller.reconciling.owner_metrics import OwnerMetrics
from headrace_controller.store import Change, ChangeKind

PROFILE = 'a "profile" of this test, ü'


OTHERS = ClusterId("another-replicas")


def own(cluster: str) -> bool:
    return cluster != OTHERS


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"headrace_controller_{name}", labels)


def value(name: str, **labels: str) -> float:
    return sample(name, **labels) or 0.0


def promised(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"headrace_controller_promised_{name}", {"profile": PROFILE})


def in_phase(phase: Phase) -> float | None:
    return REGISTRY.get_sample_value("headrace_controller_clusters", {"phase": phase})


def cluster(phase: Phase, rates: Rates) -> Cluster:
    made = new_cluster(spec=None, profile=PROFILE)
    return replace(made, status=Status(phase=phase), meter=Meter(rates=rates))


def test_phases_and_promises_follow_each_change() -> None:
    counting = ClusterMetrics(own, clock=lambda: NOW)
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


def queued(name: str = "", since: float = NOW - 50) -> Cluster:
    waits = Queued(since=since, turn=1, subject="users/ann", resource="cores", most=1, used=1, asked=1)
    made = new_cluster(name, profile=PROFILE)
    return replace(made, status=Status(phase=Phase.QUEUED), queued=waits)


def test_waits_end_by_admission_or_by_a_reason_and_count_once() -> None:
    counting = ClusterMetrics(own, clock=lambda: NOW)

    def waits(outcome: str) -> tuple[float, float]:
        return value("queue_wait_seconds_count", outcome=outcome), value("queue_wait_seconds_sum", outcome=outcome)

    before = {outcome: waits(outcome) for outcome in ("admitted", "USER", "other")}
    ended = value("ends_total", reason="USER")
    first, second, others = queued(), queued(), queued(OTHERS)
    for each in (first, second, others):
        counting.added(each)
    assert value("queued_clusters", profile=PROFILE) == 3
    assert first.queued is not None
    started = replace(first, status=Status(phase=Phase.STARTING), queued=replace(first.queued, admitted=NOW - 20))
    counting.updated(first, started)
    stopping = replace(second, status=Status(phase=Phase.STOPPING, reason=EndReason.USER))
    counting.updated(second, stopping)
    counting.updated(stopping, replace(stopping, status=replace(stopping.status, phase=Phase.STOPPED)))
    counting.updated(others, replace(others, status=Status(phase=Phase.STOPPED, reason=EndReason.USER)))
    assert value("queued_clusters", profile=PROFILE) == 0
    assert waits("admitted") == (before["admitted"][0] + 1, before["admitted"][1] + 30)
    assert waits("USER") == (before["USER"][0] + 1, before["USER"][1] + 50)
    assert waits("other") == before["other"]
    assert value("ends_total", reason="USER") == ended + 1


def test_events_of_own_clusters_are_counted_under_a_bounded_number_of_names() -> None:
    counting = ClusterMetrics(own, clock=lambda: NOW)
    before = {kind: value("events_total", type=kind) for kind in ("Culled", "other")}

    def happens(kind: EventType, cluster: ClusterId) -> None:
        change = Change(id="1", kind=ChangeKind.EVENT, cluster=cluster, owner=new_cluster().owner)
        counting.on_change(replace(change, event=replace(event(), type=kind)))

    happens(EventType.CULLED, ClusterId("c1"))
    happens(EventType.CULLED, OTHERS)
    for number in range(5):
        happens(EventType(f"OfALaterRelease{number}"), ClusterId("c1"))
    assert value("events_total", type="Culled") == before["Culled"] + 1
    assert value("events_total", type="other") == before["other"] + 5
    assert value("events_total", type="OfALaterRelease1") == 0
    assert sample("events_total", type="LimitLowered") is not None
    assert sample("ends_total", reason="BUDGET") is not None


def test_owners_with_the_most_are_named_and_no_others() -> None:
    counting = OwnerMetrics(2)

    def shown(name: str) -> dict[str, float]:
        families = {family.name: family for family in counting.collect()}
        return {s.labels["owner"]: s.value for s in families[f"headrace_controller_owner_promised_{name}"].samples}

    assert shown("cores") == {}
    clusters = [
        replace(new_cluster(owner=owner), meter=Meter(rates=Rates(clusters=1, cores=cores, memory=1024)))
        for owner, cores in (("ann", 1000), ("bob", 2000), ('cy\n"ü', 2500), ("ann", 1500), ("dan", 500))
    ]
    for each in clusters:
        counting.added(each)
    assert shown("cores") == {"ann": 2.5, 'cy\n"ü': 2.5}
    assert shown("clusters") == {"ann": 2, 'cy\n"ü': 1}
    assert shown("memory_bytes")["ann"] == 2 * 2**30
    ended = replace(clusters[0], meter=Meter())
    counting.updated(clusters[0], ended)
    counting.removed(ended)
    assert shown("cores") == {'cy\n"ü': 2.5, "bob": 2}
    for each in clusters[1:]:
        counting.removed(each)
    assert shown("cores") == {}
