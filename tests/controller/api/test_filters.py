"""Filters: which clusters a list or a watch is about, and what a watch sends of those that stop matching."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import new_cluster, running_cluster

from headrace.errors import InvalidRequest, PermissionDenied
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import ADMIN, Caller
from headrace_controller.api.filters import Filter
from headrace_controller.api.watch_scope import Scope
from headrace_controller.model import Cluster, ClusterId, Phase

ANN = Caller("ann")
ROOT = Caller("root", roles=frozenset({ADMIN}))
LIVING = {Phase.QUEUED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING}


def read(caller: Caller = ANN, **fields: Any) -> Filter:
    return Filter.read(pb.ClusterFilter(**fields), caller)


def test_an_empty_filter_is_about_the_callers_living_clusters() -> None:
    made = read()
    assert (made.owner, made.phases, made.living) == ("ann", LIVING, True)


@pytest.mark.parametrize("owner", ["users/bob", "users/-"])
def test_others_clusters_are_for_admins(owner: str) -> None:
    with pytest.raises(PermissionDenied, match="only admins may"):
        read(owner=owner)
    assert read(ROOT, owner=owner).owner == (None if owner == "users/-" else "bob")


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"phases": [77]}, "filter.phases"), ({"phases": [0]}, "filter.phases"), ({"owner": "ann"}, "filter.owner")],
)
def test_what_is_no_filter_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    ("phases", "living"),
    [
        ([cluster_pb2.PHASE_RUNNING, cluster_pb2.PHASE_STOPPING], True),
        ([cluster_pb2.PHASE_STOPPED, cluster_pb2.PHASE_FAILED], False),
        ([cluster_pb2.PHASE_RUNNING, cluster_pb2.PHASE_FAILED], None),
    ],
)
def test_phases_tell_whether_living_or_ended_ones_are_looked_for(phases: list[int], living: bool | None) -> None:
    assert read(phases=phases).living is living


CLUSTER = running_cluster(spec={"tags": {"team": "a", "cost": "1"}, "profile": "gpu"})


@pytest.mark.parametrize(
    ("fields", "matches"),
    [
        ({}, True),
        ({"phases": [cluster_pb2.PHASE_STOPPED]}, False),
        ({"tags": {"team": "a"}}, True),
        ({"tags": {"team": "a", "cost": "2"}}, False),
        ({"tags": {"absent": ""}}, False),
        ({"profile": "gpu"}, True),
        ({"profile": "cpu"}, False),
    ],
)
def test_a_cluster_matches_all_of_a_filter(fields: dict[str, Any], matches: bool) -> None:
    assert read(**fields).matches(CLUSTER) is matches


# The scope of a watch

ENDED = replace(CLUSTER, status=replace(CLUSTER.status, phase=Phase.STOPPED))
NEVER = new_cluster("c2", tags={})


def scope(target: ClusterId | Filter | None = None, *, resumed: bool = False) -> Scope:
    wanted = read(tags={"team": "a"}) if target is None else target
    return Scope(ANN, wanted, full=False, events=False, resumed=resumed)


def sent(made: Scope, *clusters: Cluster) -> list[bool]:
    return [made.update(cluster) for cluster in clusters]


def test_a_cluster_that_no_longer_matches_is_sent_once_more() -> None:
    assert sent(scope(), CLUSTER, ENDED, ENDED, CLUSTER, ENDED) == [True, True, False, True, True]


def test_a_cluster_that_never_matched_is_not_sent() -> None:
    assert sent(scope(), NEVER, NEVER) == [False, False]


def test_the_client_of_a_resumed_watch_may_know_any_cluster() -> None:
    assert sent(scope(resumed=True), ENDED, ENDED, CLUSTER, ENDED, NEVER, NEVER) == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_removal_is_sent_to_those_who_may_know_the_cluster() -> None:
    made = scope()
    made.update(CLUSTER)
    assert made.knows(CLUSTER.id)
    made.update(ENDED)
    assert not made.knows(CLUSTER.id)
    assert scope(resumed=True).knows(CLUSTER.id)
    made.update(CLUSTER)
    made.remove(CLUSTER.id)
    assert not made.knows(CLUSTER.id)


def test_one_cluster_is_sent_in_whatever_phase() -> None:
    made = scope(CLUSTER.id)
    assert sent(made, CLUSTER, ENDED, ENDED) == [True, True, True]
    assert made.topic == ("cluster", CLUSTER.id)


def test_topics_are_as_narrow_as_the_filter() -> None:
    assert scope().topic == ("owner", "ann")
    assert scope(read(ROOT, owner="users/-")).topic is None
