"""Rules of the values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.controller.builders import new_cluster, running_cluster

from headrace.access import Access, Share
from headrace.v1.enums import Right
from headrace_controller.model import AdaptRange, Cluster, EndReason, Group, Phase, Queued, WorkerState


@pytest.mark.parametrize(
    ("adapt", "sizes"),
    [
        (AdaptRange(minimum=2, maximum=4), {0: 2, 3: 3, 9: 4}),
        (AdaptRange(minimum=2), {0: 2, 3: 3, 10**9: 10**9}),
    ],
)
def test_a_range_clamps_to_the_closest_size(adapt: AdaptRange, sizes: dict[int, int]) -> None:
    assert {size: adapt.clamp(size) for size in sizes} == sizes


def test_targets_count_only_while_a_group_is_adaptive() -> None:
    adaptive = Group(name="a", size=1, adapt=AdaptRange(minimum=0))
    fixed = Group(name="f", size=2)
    cluster = running_cluster(groups=[adaptive, fixed], targets={"a": 5, "f": 5})
    assert [cluster.desired(group) for group in cluster.spec.groups] == [5, 2]
    assert running_cluster(groups=[adaptive]).desired(adaptive) == 1


def test_workers_that_wait_for_room_are_wanted_and_not_to_be_had_yet() -> None:
    group, other = Group(size=8), Group(name="other", size=1)
    queued = Queued(since=1, turn=1, subject="users/ann", resource="workers", most=4, used=4, asked=8)
    starting = running_cluster(groups=[group, other], queued=queued)
    assert (starting.desired(group), queued.waits, starting.with_all_granted()) == (8, True, starting)
    growing = replace(starting, queued=replace(queued, admitted=2.0, granted={"default": 3}))
    assert growing.queued is not None
    assert (growing.desired(group), growing.wanted(group), growing.desired(other)) == (3, 8, 1)
    assert (growing.queued.waits, growing.begun) == (True, 2.0)
    whole = growing.with_all_granted()
    assert whole.queued is not None
    assert (whole.desired(group), whole.queued.waits, whole.with_all_granted()) == (8, False, whole)
    assert running_cluster(groups=[group]).with_all_granted().desired(group) == 8


def test_groups_are_found_by_name() -> None:
    spec = running_cluster(groups=[Group(name="a"), Group(name="b")]).spec
    assert spec.group("b") == Group(name="b")
    assert spec.group("c") is None


@pytest.mark.parametrize(
    ("cluster", "stopping"),
    [
        (running_cluster(), False),
        (new_cluster(stop=True), True),
        (running_cluster(status={"phase": Phase.STOPPING}), True),
        (running_cluster(status={"phase": Phase.STOPPED}), True),
        (running_cluster(status={"phase": Phase.FAILED}), True),
    ],
)
def test_a_cluster_is_stopping_from_the_request_on(cluster: Cluster, stopping: bool) -> None:
    assert cluster.stopping is stopping


@pytest.mark.parametrize(
    ("phase", "trace"),
    [(Phase.QUEUED, "t"), (Phase.STARTING, "t"), (Phase.RUNNING, ""), (Phase.STOPPING, ""), (Phase.FAILED, "")],
)
def test_the_trace_of_a_start_ends_with_it(phase: Phase, trace: str) -> None:
    assert running_cluster(status={"phase": phase, "traceparent": "t"}).start_trace == trace


def test_the_access_of_a_cluster_has_its_owner_groups_and_shares() -> None:
    share = Share("users/bob", frozenset({Right.CLUSTER_VIEW}))
    cluster = running_cluster(spec={"shares": (share,)}, groups=[])
    assert cluster.access == Access("ann", (), (share,))


def test_reasons_are_failures_unless_somebody_or_some_rule_intended_the_end() -> None:
    assert {reason for reason in EndReason if not reason.failure} == {
        EndReason.USER,
        EndReason.IDLE,
        EndReason.NO_CLIENT,
        EndReason.LIFETIME,
        EndReason.LIMIT,
        EndReason.BUDGET,
    }


def test_workers_are_alive_while_they_may_join() -> None:
    assert {state for state in WorkerState if state.alive} == {WorkerState.PENDING, WorkerState.RUNNING}
    assert {state for state in WorkerState if state.ended} == {WorkerState.CLOSED, WorkerState.FAILED}
