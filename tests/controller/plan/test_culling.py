"""Clusters that are not needed any more are stopped, which is no failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import CREATED_AT, exited_process, new_cluster, running_cluster
from tests.controller.plan.deciding import decide, kinds

from headrace.v1.enums import EventType
from headrace_controller.backends.process import SCHEDULER, ProcessStatus
from headrace_controller.model import EndReason, Phase, Status
from headrace_controller.plan import FetchLogTail, Policy, StopAll

HOUR = Policy(idle_timeout=3600)
IDLE = {"idle_since": 1000.0}


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RUNNING])
def test_a_cluster_ends_when_its_lifetime_is_over(phase: Phase) -> None:
    cluster = running_cluster(spec={"lifetime": 5400.0}, status={"phase": phase, "scheduler_created": 6000.0})
    before = decide(cluster, now=CREATED_AT + 5399)
    assert before.requeue_at == CREATED_AT + 5400
    assert before.status.reason is None

    decision = decide(cluster, now=CREATED_AT + 5400)
    assert decision.actions == (StopAll(),)
    assert decision.status.phase is Phase.STOPPING
    assert decision.status.reason is EndReason.LIFETIME
    assert decision.status.message == ("The cluster reached its lifetime of 1 h 30 min. Create a new one to continue.")
    assert kinds(decision) == [EventType.STOPPING]


def test_a_stop_by_a_user_comes_before_every_rule() -> None:
    cluster = running_cluster(spec={"lifetime": 1.0, "stop": True})
    assert decide(cluster).status.reason is EndReason.USER


@pytest.mark.parametrize(("policy", "after"), [(HOUR, "1 h"), (Policy(), "too long")])
def test_a_scheduler_that_closes_because_it_is_idle_stops_its_cluster(policy: Policy, after: str) -> None:
    decision = decide(running_cluster(report={"closing": EndReason.IDLE}), policy=policy)
    assert decision.actions == (StopAll(),)
    assert decision.status.reason is EndReason.IDLE
    assert decision.status.message == (
        f"The cluster was stopped because it was idle for {after}. Create a new one to continue."
    )
    ended = decide(replace(running_cluster(), status=decision.status), exited_process(code=0))
    assert ended.status.phase is Phase.STOPPED


def test_a_scheduler_that_a_client_shuts_down_stops_its_cluster() -> None:
    decision = decide(running_cluster(report={"closing": EndReason.USER}))
    assert (decision.status.reason, decision.status.message) == (EndReason.USER, "A client shut the scheduler down.")


def test_an_idle_scheduler_that_exits_as_intended_has_reached_its_time_out() -> None:
    decision = decide(running_cluster(report=IDLE), exited_process(code=0), now=4600.0, policy=HOUR)
    assert decision.status.phase is Phase.STOPPED
    assert decision.status.reason is EndReason.IDLE
    assert kinds(decision) == [EventType.STOPPING, EventType.STOPPED]


@pytest.mark.parametrize(
    ("process", "report", "seen"),
    [
        (exited_process(code=1), IDLE, {}),  # it crashed
        (exited_process(code=0), {}, {}),  # it was busy
        (exited_process(code=0), IDLE, {"now": 4599.9}),  # not idle for long enough
        (exited_process(code=0), IDLE, {"policy": Policy()}),  # there is no time-out
    ],
)
def test_any_other_exit_is_a_failure(process: ProcessStatus, report: dict[str, Any], seen: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"now": 4600.0, "policy": HOUR, **seen}
    assert decide(running_cluster(report=report), process, **facts).actions == (FetchLogTail(SCHEDULER),)


def test_an_idle_scheduler_whose_process_runs_goes_on() -> None:
    decision = decide(running_cluster(report=IDLE), now=9999.0, policy=HOUR)
    assert decision.status.phase is Phase.RUNNING
    assert decide(new_cluster(), processes={}, policy=HOUR).status.phase is Phase.STARTING


def test_a_lifetime_does_not_outlast_the_end() -> None:
    ended = replace(running_cluster(spec={"lifetime": 1.0}), status=Status(phase=Phase.STOPPED, ended=950.0))
    assert decide(ended, processes={}).requeue_at is None
