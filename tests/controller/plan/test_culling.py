"""Clusters that are not needed any more are stopped, which is no failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import CREATED_AT, exited_process, running_cluster
from tests.controller.plan.deciding import decide, kinds

from headrace.v1.enums import EventType
from headrace_controller.backends.process import SCHEDULER
from headrace_controller.model import EndReason, Phase, Status
from headrace_controller.plan import FetchLogTail, StopAll


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


def test_a_scheduler_that_closes_by_dasks_own_time_out_stops_its_cluster() -> None:
    decision = decide(running_cluster(report={"closing": EndReason.IDLE}))
    assert decision.actions == (StopAll(),)
    assert decision.status.reason is EndReason.IDLE
    assert "distributed.scheduler.idle-timeout" in decision.status.message
    ended = decide(replace(running_cluster(), status=decision.status), exited_process(code=0))
    assert ended.status.phase is Phase.STOPPED


def test_a_scheduler_that_a_client_shuts_down_stops_its_cluster() -> None:
    decision = decide(running_cluster(report={"closing": EndReason.USER}))
    assert (decision.status.reason, decision.status.message) == (EndReason.USER, "A client shut the scheduler down.")


@pytest.mark.parametrize("report", [{}, {"idle_since": 1000.0}])
def test_any_other_exit_is_a_failure(report: dict[str, Any]) -> None:
    decision = decide(running_cluster(report=report), exited_process(code=0), now=4600.0)
    assert decision.actions == (FetchLogTail(SCHEDULER),)


def test_a_lifetime_does_not_outlast_the_end() -> None:
    ended = replace(running_cluster(spec={"lifetime": 1.0}), status=Status(phase=Phase.STOPPED, ended=950.0))
    assert decide(ended, processes={}).requeue_at is None
