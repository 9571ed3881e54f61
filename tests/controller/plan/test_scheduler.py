"""The scheduler: launched once, usable in time, lost only after somebody watched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.controller.builders import (
    CREATED_AT,
    connected_report,
    exited_process,
    new_cluster,
    process,
    running_cluster,
)
from tests.controller.plan.deciding import conditions, decide, kinds

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause
from headrace_controller.backends.process import SCHEDULER, ProcessState, ProcessStatus
from headrace_controller.model import Cluster, EndReason, Phase, Report, Severity, Status
from headrace_controller.plan import FetchLogTail, Policy, RouteState, StartError, StartProcesses, StopAll

POLICY = Policy(start_timeout=90, scheduler_lost=30, scheduler_silence=45, log_tail_bytes=20)
NEW = new_cluster("c1")
STARTING = replace(NEW, status=Status(scheduler_created=CREATED_AT))
RUNNING = running_cluster()
AWAY = running_cluster(report={"connected": False, "changed": 1000.0})
NOT_ROUTED = RouteState()
REACHABLE, ROUTED = ConditionType.REACHABLE, ConditionType.ROUTED
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def test_a_blocked_scheduler_is_said_to_be_and_is_never_ended() -> None:
    reachable = replace(RUNNING, status=decide(RUNNING).status)
    silent = replace(reachable, report=replace(reachable.report, silent_since=1000.0))
    blocked = decide(silent, now=1040.0, policy=POLICY)
    assert conditions(blocked)[REACHABLE] == (UNKNOWN, "NotAnswering")
    assert kinds(blocked) == [EventType.SCHEDULER_UNREACHABLE]
    [condition] = [c for c in blocked.status.conditions if c.type is REACHABLE]
    assert "has not answered for 45 s" in condition.message
    assert "event loop may be blocked" in condition.message

    later = decide(replace(silent, status=blocked.status), now=1_000_000.0, policy=POLICY)
    assert (later.status.phase, later.events, later.actions) == (Phase.RUNNING, (), ())
    back = decide(replace(reachable, status=later.status), now=1_000_001.0, policy=POLICY)
    assert conditions(back)[REACHABLE][0] is TRUE
    assert kinds(back) == [EventType.SCHEDULER_REACHABLE]


def test_a_new_cluster_gets_a_scheduler() -> None:
    decision = decide(NEW, now=900.0, policy=POLICY, processes={})
    assert decision.actions == (StartProcesses((SCHEDULER,)),)
    assert decision.status.scheduler_created == 900.0
    assert decision.status.phase is Phase.STARTING
    assert decision.status.observed_generation == 1
    assert kinds(decision) == [EventType.SCHEDULER_STARTING]
    assert decision.requeue_at == 990.0


def test_a_launch_that_was_not_carried_out_is_repeated() -> None:
    decision = decide(STARTING, now=901.0, processes={})
    assert decision.actions == (StartProcesses((SCHEDULER,)),)
    assert decision.events == ()


def test_a_scheduler_that_has_reported_is_not_launched_again() -> None:
    assert decide(replace(STARTING, report=connected_report()), now=901.0, processes={}).actions == ()
    assert decide(RUNNING, processes={}).actions == ()
    assert decide(AWAY, processes={}).actions == ()


def test_it_runs_when_it_has_reported_and_is_routed() -> None:
    reported = replace(STARTING, report=connected_report())
    waiting = decide(reported, now=910.0, route=NOT_ROUTED)
    assert waiting.status.phase is Phase.STARTING
    assert waiting.status.message == "The scheduler runs. Waiting until the proxy has its route."
    assert kinds(waiting) == [EventType.SCHEDULER_STARTED]
    assert conditions(waiting)[ROUTED] == (FALSE, "RoutePending")

    running = decide(replace(reported, status=waiting.status), now=911.0)
    assert running.status.phase is Phase.RUNNING
    assert (running.status.started, running.status.message) == (911.0, "")
    assert kinds(running) == [EventType.RUNNING]
    assert running.requeue_at is None
    assert {c.type: c.changed for c in running.status.conditions} == {
        ConditionType.REACHABLE: 910.0,
        ConditionType.ROUTED: 911.0,
        ConditionType.STARTABLE: 910.0,
        ConditionType.WORKERS_READY: 910.0,
    }
    assert {c.observed_generation for c in running.status.conditions} == {1}


@pytest.mark.parametrize(
    ("processes", "report", "message"),
    [
        ({}, Report(), "Waiting for the scheduler's process to start."),
        ({SCHEDULER: process(state=ProcessState.PENDING)}, Report(), "The scheduler waits for room."),
        (
            {SCHEDULER: process(state=ProcessState.PENDING, message="12 jobs before it")},
            Report(),
            "The scheduler waits for room: 12 jobs before it.",
        ),
        ({SCHEDULER: process()}, Report(), "The scheduler's process runs. Waiting for it to report."),
    ],
)
def test_it_tells_what_it_waits_for(processes: dict[str, ProcessStatus], report: Report, message: str) -> None:
    decision = decide(replace(STARTING, report=report), now=901.0, processes=processes, route=NOT_ROUTED)
    assert decision.status.message == message


def test_a_start_that_takes_too_long_fails_with_what_it_waited_for() -> None:
    assert decide(STARTING, now=989.9, policy=POLICY, route=NOT_ROUTED).status.phase is Phase.STARTING
    assert decide(STARTING, now=990.0, policy=POLICY, route=NOT_ROUTED).actions == (FetchLogTail(SCHEDULER),)

    decision = decide(STARTING, now=990.0, policy=POLICY, route=NOT_ROUTED, log_tail={SCHEDULER: "its last words\n"})

    assert decision.actions == (StopAll(),)
    assert decision.status.phase is Phase.STOPPING
    assert decision.status.reason is EndReason.START_TIMEOUT
    assert decision.status.message == (
        "The cluster was not usable within 1 min 30 s. The scheduler's process runs. Waiting for it to report."
    )
    assert decision.status.log_tail == "its last words\n"
    assert [(event.type, event.severity) for event in decision.events] == [(EventType.FAILING, Severity.ERROR)]


@pytest.mark.parametrize(("cluster", "counts_from"), [(STARTING, 900.0), (AWAY, 1000.0)])
def test_time_without_a_controller_does_not_count(cluster: Cluster, counts_from: float) -> None:
    late = counts_from + 1000.0
    assert decide(cluster, now=late, policy=POLICY, route=NOT_ROUTED).actions == (FetchLogTail(SCHEDULER),)
    decision = decide(cluster, now=late, policy=POLICY, route=NOT_ROUTED, watching_since=late - 1)
    assert decision.actions == ()
    assert decision.status.phase is cluster.status.phase


@pytest.mark.parametrize(
    ("cluster", "process", "reason", "message"),
    [
        (STARTING, exited_process(), EndReason.BACKEND_ERROR, "ended with exit code 1"),
        (
            STARTING,
            exited_process(code=-9),
            EndReason.BACKEND_ERROR,
            "was killed by signal 9 (SIGKILL): perhaps by the kernel, because memory ran out",
        ),
        (STARTING, exited_process(code=-77), EndReason.BACKEND_ERROR, "was killed by signal 77"),
        (STARTING, exited_process(code=None), EndReason.BACKEND_ERROR, "ended"),
        (
            STARTING,
            exited_process(code=127, cause=ExitCause.START_FAILED, message="no such file: dask"),
            EndReason.BACKEND_ERROR,
            "could not be started (exit code 127): no such file: dask",
        ),
        (
            STARTING,
            exited_process(code=None, cause=ExitCause.START_FAILED),
            EndReason.BACKEND_ERROR,
            "could not be started",
        ),
        (RUNNING, exited_process(), EndReason.SCHEDULER_LOST, "ended with exit code 1"),
        (
            RUNNING,
            exited_process(code=-9, cause=ExitCause.OUT_OF_MEMORY),
            EndReason.OUT_OF_MEMORY,
            "exceeded its memory limit",
        ),
    ],
)
def test_a_scheduler_that_exits_ends_its_cluster_at_once(
    cluster: Cluster, process: ProcessStatus, reason: EndReason, message: str
) -> None:
    assert decide(cluster, process).actions == (FetchLogTail(SCHEDULER),)
    decision = decide(cluster, process, log_tail={SCHEDULER: ""})
    assert decision.actions == ()
    assert decision.status.phase is Phase.FAILED
    assert (decision.status.reason, decision.status.message) == (reason, f"The scheduler's process {message}.")
    assert decision.status.ended == 1000.0
    assert decision.status.conditions == ()
    assert kinds(decision)[-2:] == [EventType.FAILING, EventType.FAILED]


def test_a_log_tail_is_cut_to_whole_lines() -> None:
    tails = {"short\n": "short\n", "first line\nsecond line\n": "second line\n", "é" * 30: "é" * 10}
    for log, kept in tails.items():
        decision = decide(STARTING, exited_process(), policy=POLICY, log_tail={SCHEDULER: log})
        assert decision.status.log_tail == kept


@pytest.mark.parametrize("cluster", [replace(STARTING, report=connected_report()), RUNNING])
def test_a_refused_route_ends_the_cluster_and_tells_where_to_look(cluster: Cluster) -> None:
    refused = RouteState(rejected_by=("proxy-1", "proxy-2"))
    decision = decide(cluster, now=910.0, route=refused)
    assert decision.actions == (StopAll(),)
    assert decision.status.phase is Phase.STOPPING
    assert decision.status.reason is EndReason.BACKEND_ERROR
    assert decision.status.message == (
        "The proxy refused the route to the scheduler at tls://127.0.0.1:1 (proxy-1, proxy-2), so no client can reach "
        "the cluster. The log of the proxy service says why; ask an administrator."
    )
    assert kinds(decision) == [EventType.ROUTE_REJECTED, EventType.FAILING]
    ended = decide(replace(cluster, status=decision.status), exited_process(code=0), route=refused)
    assert (ended.status.phase, ended.status.message) == (Phase.FAILED, decision.status.message)


def test_a_silent_agent_is_a_condition_first() -> None:
    seen = decide(RUNNING, policy=POLICY).status
    away = decide(replace(AWAY, status=seen), now=1001.0, policy=POLICY)
    assert away.status.phase is Phase.RUNNING
    assert away.status.message == "The scheduler does not answer."
    assert conditions(away)[REACHABLE] == (UNKNOWN, "AgentAway")
    assert kinds(away) == [EventType.SCHEDULER_UNREACHABLE]
    assert away.requeue_at == 1030.0

    back = decide(replace(RUNNING, status=away.status), now=1015.0, policy=POLICY)
    assert conditions(back)[REACHABLE] == (TRUE, "")
    assert kinds(back) == [EventType.SCHEDULER_REACHABLE]
    assert (back.status.message, back.requeue_at) == ("", None)

    lost = decide(replace(AWAY, status=away.status), now=1030.0, policy=POLICY, log_tail={SCHEDULER: "x"})
    assert lost.status.reason is EndReason.SCHEDULER_LOST
    assert lost.status.message == "The scheduler has not answered for 30 s."


def test_an_agent_that_was_never_connected_is_not_reachable() -> None:
    assert conditions(decide(STARTING, now=901.0))[REACHABLE] == (FALSE, "NotConnected")


def test_an_agent_whose_replica_is_gone_is_away_from_then_on() -> None:
    seen = decide(RUNNING, policy=POLICY).status
    here = replace(RUNNING, status=seen)
    missed = decide(here, now=1000.0, policy=POLICY, holder_gone_from=1002.0)
    assert (missed.status, missed.requeue_at) == (seen, 1002.0)

    away = decide(here, now=1002.0, policy=POLICY, holder_gone_from=1002.0)
    assert conditions(away)[REACHABLE] == (UNKNOWN, "AgentAway")
    assert kinds(away) == [EventType.SCHEDULER_UNREACHABLE]
    assert away.requeue_at == 1032.0  # a replica that is back wakes it earlier

    gone = replace(RUNNING, status=away.status)
    assert decide(gone, now=1031.9, policy=POLICY, holder_gone_from=1002.0).requeue_at == 1032.0
    assert decide(gone, now=1032.0, policy=POLICY, holder_gone_from=1002.0).actions == (FetchLogTail(SCHEDULER),)
    assert decide(gone, now=1032.0, policy=POLICY, holder_gone_from=1002.0, watching_since=1020.0).actions == ()
    assert conditions(decide(gone, now=1032.0, policy=POLICY))[REACHABLE] == (TRUE, "")  # it was back in time
    reported = decide(AWAY, now=1030.0, policy=POLICY, holder_gone_from=1002.0)  # the agent had left before
    assert reported.actions == (FetchLogTail(SCHEDULER),)


def test_a_cluster_that_lost_its_route_keeps_running() -> None:
    decision = decide(RUNNING, route=NOT_ROUTED)
    assert decision.status.phase is Phase.RUNNING
    assert conditions(decision)[ROUTED] == (FALSE, "RoutePending")


def test_the_scheduler_pauses_by_itself() -> None:
    other = {"gpu": StartError("no GPU is left", 1005.0)}
    assert decide(NEW, processes={}, start_errors=other).actions == (StartProcesses((SCHEDULER,)),)
    refused = {None: StartError("the disk is full", 1005.0)}
    decision = decide(NEW, processes={}, start_errors=refused)
    assert (decision.actions, decision.requeue_at) == ((), 1005.0)
    assert decision.status.message == (
        "The scheduler cannot be started: the disk is full. It is tried again until 00:17 UTC."
    )
    assert decide(NEW, now=1005.0, processes={}, start_errors=refused).actions == (StartProcesses((SCHEDULER,)),)


def test_a_scheduler_that_was_never_launched_has_all_its_time() -> None:
    adopted = replace(NEW, status=Status(phase=Phase.STARTING), report=connected_report())
    decision = decide(adopted, now=5000.0, policy=POLICY, route=NOT_ROUTED)
    assert (decision.status.scheduler_created, decision.requeue_at) == (5000.0, 5090.0)
