"""Filters: which clusters a list, a watch or a batch is about."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controller.builders import running_cluster

from headrace.errors import InvalidRequest, PermissionDenied
from headrace.v1 import cluster_pb2
from headrace.v1 import cluster_service_pb2 as pb
from headrace_chassis.identity.caller import ADMIN, Caller
from headrace_controller.api.filters import Filter
from headrace_controller.model import Phase

ANN = Caller("ann")
ROOT = Caller("root", roles=frozenset({ADMIN}))
LIVING = (Phase.QUEUED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING)


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
    [
        ({"phases": [77]}, "filter.phases"),
        ({"phases": [0]}, "filter.phases"),
        ({"owner": "ann"}, "filter.owner"),
        ({"tags": {"k": "v" * 64}}, "filter.tags.k"),
        ({"tags": {str(n): "" for n in range(33)}}, "filter.tags"),
        ({"profile": "p" * 64}, "filter.profile"),
    ],
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
