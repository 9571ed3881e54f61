"""What a watch sends of clusters that start and stop matching its filter."""

from __future__ import annotations

from dataclasses import replace

from tests.controller.builders import event, new_cluster, running_cluster

from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import ADMIN, Caller
from headrace_controller.api.filters import Filter
from headrace_controller.api.watch_scope import Scope
from headrace_controller.model import Cluster, ClusterId, Phase
from headrace_controller.store import Change, ChangeKind

ANN = Caller("ann")
ROOT = Caller("root", roles=frozenset({ADMIN}))
CLUSTER = running_cluster(spec={"tags": {"team": "a"}})
ENDED = replace(CLUSTER, status=replace(CLUSTER.status, phase=Phase.STOPPED))
NEVER = new_cluster("c2", tags={})
TEAM = Filter.read(pb.ClusterFilter(tags={"team": "a"}), ANN)


def scope(target: ClusterId | Filter = TEAM, *, resumed: bool = False) -> Scope:
    return Scope(ANN, target, full=False, events=True, resumed=resumed)


def change(kind: ChangeKind = ChangeKind.RECORD, cluster: Cluster = CLUSTER, revision: int = 1) -> Change:
    happened = event() if kind is ChangeKind.EVENT else None
    revision = revision if kind in {ChangeKind.RECORD, ChangeKind.REPORT} else 0
    return Change(id="1-0", kind=kind, cluster=cluster.id, owner=cluster.owner, revision=revision, event=happened)


def accepted(made: Scope, *clusters: Cluster) -> list[bool]:
    """Which of these records are sent, each written by a change of its own."""
    return [made.accepts(change(cluster=cluster), cluster) for cluster in clusters]


def test_a_cluster_that_no_longer_matches_is_sent_once_more() -> None:
    assert accepted(scope(), CLUSTER, ENDED, ENDED, CLUSTER, ENDED) == [True, True, False, True, True]


def test_a_cluster_that_never_matched_is_not_sent() -> None:
    assert accepted(scope(), NEVER, NEVER) == [False, False]


def test_the_client_of_a_resumed_watch_may_know_any_cluster() -> None:
    made = scope(resumed=True)
    assert accepted(made, ENDED, ENDED, CLUSTER, ENDED) == [True, False, True, True]
    assert accepted(made, NEVER, NEVER) == [True, False]


def test_the_initial_state_is_what_matches() -> None:
    made = scope()
    assert (made.starts_with(CLUSTER), made.starts_with(NEVER)) == (True, False)
    assert accepted(made, NEVER) == [False]
    assert accepted(made, ENDED) == [True]


def test_the_events_of_the_change_that_ends_a_match_are_sent() -> None:
    made = scope()
    assert accepted(made, CLUSTER, ENDED) == [True, True]
    assert made.accepts(change(ChangeKind.EVENT), ENDED)
    assert made.accepts(change(ChangeKind.EVENT), ENDED)
    assert accepted(made, NEVER) == [False]
    assert not made.accepts(change(ChangeKind.EVENT), ENDED)


def test_a_record_that_is_ahead_of_its_changes_is_dismissed_only_with_the_last_of_them() -> None:
    made, ahead = scope(), replace(ENDED, revision=3)
    assert accepted(made, CLUSTER) == [True]
    assert made.accepts(change(revision=2), ahead)
    assert made.accepts(change(ChangeKind.EVENT), ahead)
    assert made.accepts(change(cluster=NEVER), NEVER) is False
    assert made.accepts(change(revision=3), ahead)
    assert made.accepts(change(ChangeKind.EVENT), ahead)
    assert not made.accepts(change(ChangeKind.REPORT, revision=4), replace(ahead, revision=4))


def test_a_removal_is_sent_to_those_who_may_know_the_cluster() -> None:
    removal = change(ChangeKind.REMOVED)
    assert not scope().accepts(removal, None)
    assert scope(resumed=True).accepts(removal, None)
    made = scope()
    accepted(made, CLUSTER)
    assert made.accepts(change(), None)  # its record is gone already
    assert made.accepts(removal, None)
    assert not made.accepts(removal, None)


def test_one_cluster_is_sent_in_whatever_phase() -> None:
    made = scope(CLUSTER.id)
    assert accepted(made, CLUSTER, ENDED, ENDED) == [True, True, True]
    assert made.topic == ("cluster", CLUSTER.id)


def test_topics_are_as_narrow_as_the_filter() -> None:
    assert scope().topic == ("owner", "ann")
    assert scope(Filter.read(pb.ClusterFilter(owner="users/-"), ROOT)).topic is None
