"""Culling warns first, and acts once the warning has lasted while a controller watched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import running_cluster
from tests.controller.plan.deciding import decide, kinds, messages

from headrace.v1.enums import EventType
from headrace_controller.model import Cluster, EndReason, Group, Phase
from headrace_controller.plan import Decision, ScaleToZero, StopAll
from headrace_controller.plan.findings import CullAction, Finding

IDLE = Finding(
    rule="idle", reason=EndReason.IDLE, due=2000.0, warn=300.0, why="it has been idle for 25 min", advice="Use it."
)
SCALE = replace(IDLE, action=CullAction.SCALE_TO_ZERO)


def find(cluster: Cluster, *found: Finding, now: float, **seen: Any) -> Decision:
    return decide(cluster, now=now, findings=found, **seen)


def warned(finding: Finding = IDLE, at: float = 1700.0, **parts: Any) -> Cluster:
    return running_cluster(status={"warnings": {finding.key: at}}, **parts)


def test_it_warns_once_and_says_what_happens_when_and_why() -> None:
    early = find(running_cluster(), IDLE, now=1699.0)
    assert (early.events, early.requeue_at) == ((), 1700)
    decision = find(running_cluster(), IDLE, now=1700.0)
    assert messages(decision, EventType.CULLING_WARNED) == [
        "This cluster is stopped in 5 min because it has been idle for 25 min. Use it."
    ]
    assert decision.status.warnings == {"idle:stop": 1700.0}
    assert decision.requeue_at == 2000
    again = find(replace(running_cluster(), status=decision.status), IDLE, now=1800.0)
    assert (again.events, again.requeue_at) == ((), 2000)


def test_it_stops_the_cluster_with_a_reason_once_the_warning_has_lasted() -> None:
    decision = find(warned(), IDLE, now=2000.0)
    assert decision.actions == (StopAll(),)
    assert (decision.status.phase, decision.status.reason) == (Phase.STOPPING, EndReason.IDLE)
    assert decision.status.message == (
        "The cluster was stopped because it has been idle for 25 min. Create a new one to continue."
    )


def test_who_was_warned_late_has_the_whole_time() -> None:
    decision = find(warned(at=5000.0), IDLE, now=5299.0)
    assert (decision.actions, decision.requeue_at) == ((), 5300)


def test_time_without_a_controller_counts_for_no_warning() -> None:
    decision = find(warned(), IDLE, now=9000.0, watching_since=8990.0)
    assert (decision.actions, decision.requeue_at) == ((), 9290)


def test_nothing_is_done_and_nothing_withdrawn_while_the_state_is_not_known() -> None:
    decision = find(warned(), replace(IDLE, due=None), now=9000.0)
    assert (decision.actions, decision.events) == ((), ())
    assert decision.status.warnings == {"idle:stop": 1700.0}


def test_nobody_is_warned_of_what_is_not_known() -> None:
    decision = find(running_cluster(), replace(IDLE, due=None), now=9000.0)
    assert (decision.events, decision.status.warnings) == ((), {})


def test_the_warning_is_withdrawn_when_the_state_ends_or_the_time_is_put_off() -> None:
    for found in ((), (replace(IDLE, due=9000.0),)):
        decision = find(warned(), *found, now=1999.0)
        assert kinds(decision) == [EventType.CULLING_WITHDRAWN]
        assert decision.status.warnings == {}


def test_a_rule_may_act_without_a_warning() -> None:
    decision = find(running_cluster(), replace(IDLE, warn=0.0), now=2000.0)
    assert EventType.CULLING_WARNED not in kinds(decision)
    assert decision.status.reason is EndReason.IDLE


def test_it_scales_to_zero_until_that_is_done() -> None:
    cluster = warned(SCALE, groups=[Group(size=1)])
    decision = find(cluster, SCALE, now=2000.0)
    assert ScaleToZero(IDLE.why) in decision.actions
    assert decision.status.phase is Phase.RUNNING
    assert decision.status.warnings == {SCALE.key: 1700.0}
    done = find(warned(SCALE), now=2001.0)
    assert (done.status.warnings, done.events) == ({}, ())


def test_whoever_may_stop_it_ends_the_wait_for_warnings_that_are_given() -> None:
    assert find(warned(spec={"cull_before": 1750.0}), IDLE, now=1800.0).status.reason is EndReason.IDLE
    assert find(warned(spec={"cull_before": 1650.0}), IDLE, now=1800.0).actions == ()


@pytest.mark.parametrize(
    ("due", "warned", "times"),
    [
        (1300.0, None, (1240.0, 1300.0)),
        (1010.0, None, (1000.0, 1060.0)),  # the users have the time of the warning in any case
        (1300.0, 1245.0, (1245.0, 1305.0)),
        (1300.0, 900.0, (900.0, 1300.0)),
        (None, 900.0, (900.0, 960.0)),
        (None, None, None),
    ],
)
def test_the_times_of_a_warning_and_of_what_follows(
    due: float | None, warned: float | None, times: tuple[float, float] | None
) -> None:
    finding = Finding(rule="idle", reason=EndReason.IDLE, due=due, warn=60.0, why="it is idle")
    assert finding.times(warned, now=1000.0) == times
