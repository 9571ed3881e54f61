"""The scheduler: started once, usable in time, lost only when somebody watched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headrace_controller.backends.base import SCHEDULER, ExitCause, ProcessKey, ProcessState, ProcessStatus, Role
from headrace_controller.model import (
    Cluster,
    ClusterId,
    EndReason,
    Phase,
    Report,
    Severity,
    Spec,
    Status,
    UserId,
    WorkerId,
)
from headrace_controller.plan import Decision, FetchLogTail, Policy, Seen, StartProcesses, StopAll, plan

POLICY = Policy(start_timeout=60, scheduler_lost=30, log_tail_bytes=20)
NEW = Cluster(id=ClusterId("c1"), owner=UserId("ann"), created=100.0, spec=Spec())
STARTING = replace(NEW, status=Status(scheduler_created=100.0))
REPORT = Report(session=1, connected=True, changed=101.0, scheduler_address="tls://127.0.0.1:1")
RUNNING = replace(NEW, status=Status(phase=Phase.RUNNING, scheduler_created=100.0, started=102.0), report=REPORT)
AWAY = replace(RUNNING, report=replace(REPORT, connected=False, changed=200.0))


def scheduler(state: ProcessState = ProcessState.RUNNING, **facts: Any) -> dict[str, ProcessStatus]:
    key = ProcessKey("c1", SCHEDULER)
    return {SCHEDULER: ProcessStatus(key=key, role=Role.SCHEDULER, generation=1, state=state, **facts)}


def exited(code: int | None = 1, cause: ExitCause = ExitCause.EXITED, message: str = "") -> dict[str, ProcessStatus]:
    return scheduler(ProcessState.EXITED, exit_code=code, cause=cause, message=message)


def decide(
    cluster: Cluster,
    now: float = 110.0,
    *,
    processes: dict[str, ProcessStatus] | None = None,
    routed: bool = False,
    watching_since: float = 0.0,
    holder_gone_from: float | None = None,
    log_tail: dict[str, str] | None = None,
) -> Decision:
    seen = Seen(
        processes=scheduler() if processes is None else processes,
        routed=routed,
        holder_gone_from=holder_gone_from,
        watching_since=watching_since,
        log_tail=log_tail or {},
    )
    return plan(cluster, seen, now, POLICY, lambda group, n: WorkerId(f"{group}-{n}"))


def conditions(decision: Decision) -> dict[str, tuple[bool, str]]:
    return {c.type: (c.holds, c.reason) for c in decision.status.conditions}


def test_a_new_cluster_gets_a_scheduler() -> None:
    decision = decide(NEW, 100.0, processes={})
    assert decision.actions == (StartProcesses((SCHEDULER,)),)
    assert decision.status.scheduler_created == 100.0
    assert decision.status.phase is Phase.STARTING
    assert decision.status.observed_generation == 1
    assert [event.type for event in decision.events] == ["SchedulerStarting"]
    assert decision.look_again == 160.0


def test_a_start_that_was_not_carried_out_is_repeated() -> None:
    decision = decide(STARTING, processes={})
    assert decision.actions == (StartProcesses((SCHEDULER,)),)
    assert decision.events == ()


def test_a_scheduler_that_has_reported_is_not_started_again() -> None:
    assert decide(replace(STARTING, report=REPORT), processes={}).actions == ()
    assert decide(RUNNING, processes={}).actions == ()
    assert decide(AWAY, 201.0, processes={}).actions == ()


def test_it_runs_when_it_has_reported_and_is_routed() -> None:
    reported = replace(STARTING, report=REPORT)
    waiting = decide(reported, routed=False)
    assert waiting.status.phase is Phase.STARTING
    assert waiting.status.message == "The scheduler runs; waiting for the proxy to take up its route."
    assert [event.type for event in waiting.events] == ["SchedulerStarted"]
    assert conditions(waiting)["Routed"] == (False, "RoutePending")

    running = decide(replace(reported, status=waiting.status), 111.0, routed=True)
    assert running.status.phase is Phase.RUNNING
    assert (running.status.started, running.status.message) == (111.0, "")
    assert [event.type for event in running.events] == ["Running"]
    assert running.look_again is None
    assert {c.type: c.changed for c in running.status.conditions} == {
        "Reachable": 110.0,
        "Routed": 111.0,
        "Startable": 110.0,
        "WorkersReady": 110.0,
    }


@pytest.mark.parametrize(
    ("processes", "report", "message"),
    [
        ({}, Report(), "Waiting for the scheduler's process to start."),
        (scheduler(ProcessState.PENDING), Report(), "Waiting for room for the scheduler."),
        (
            scheduler(ProcessState.PENDING, message="12 jobs before it"),
            Report(),
            "Waiting for room for the scheduler: 12 jobs before it",
        ),
        (scheduler(), Report(), "The scheduler's process runs; waiting for it to report."),
    ],
)
def test_it_says_what_it_waits_for(processes: dict[str, ProcessStatus], report: Report, message: str) -> None:
    assert decide(replace(STARTING, report=report), processes=processes).status.message == message


def test_a_start_that_takes_too_long_fails_with_what_it_waited_for() -> None:
    assert decide(STARTING, 159.9).status.phase is Phase.STARTING
    assert decide(STARTING, 160.0).actions == (FetchLogTail(SCHEDULER),)

    decision = decide(STARTING, 160.0, log_tail={SCHEDULER: "what it said\n"})

    assert decision.actions == (StopAll(),)
    assert decision.status.phase is Phase.STOPPING
    assert decision.status.reason is EndReason.START_TIMEOUT
    assert decision.status.message == (
        "The cluster was not usable within 60 s. The scheduler's process runs; waiting for it to report."
    )
    assert decision.status.log_tail == "what it said\n"
    assert [(event.type, event.severity) for event in decision.events] == [("Failing", Severity.ERROR)]


@pytest.mark.parametrize(("cluster", "created"), [(STARTING, 100.0), (AWAY, 200.0)])
def test_time_without_a_controller_does_not_count(cluster: Cluster, created: float) -> None:
    assert decide(cluster, created + 1000.0).actions == (FetchLogTail(SCHEDULER),)
    decision = decide(cluster, created + 1000.0, watching_since=created + 999.0)
    assert decision.actions == ()
    assert decision.status.phase is cluster.status.phase


@pytest.mark.parametrize(
    ("cluster", "processes", "reason", "message"),
    [
        (STARTING, exited(1), EndReason.BACKEND_ERROR, "The scheduler's process ended with exit code 1."),
        (STARTING, exited(-9), EndReason.BACKEND_ERROR, "The scheduler's process was killed by signal 9 (SIGKILL)."),
        (STARTING, exited(-77), EndReason.BACKEND_ERROR, "The scheduler's process was killed by signal 77."),
        (STARTING, exited(None), EndReason.BACKEND_ERROR, "The scheduler's process ended."),
        (
            STARTING,
            exited(127, ExitCause.START_FAILED, "no such file: dask"),
            EndReason.BACKEND_ERROR,
            "The scheduler's process could not be started (exit code 127): no such file: dask.",
        ),
        (
            STARTING,
            exited(None, ExitCause.START_FAILED),
            EndReason.BACKEND_ERROR,
            "The scheduler's process could not be started.",
        ),
        (RUNNING, exited(1), EndReason.SCHEDULER_LOST, "The scheduler's process ended with exit code 1."),
        (
            RUNNING,
            exited(-9, ExitCause.OUT_OF_MEMORY),
            EndReason.OUT_OF_MEMORY,
            "The scheduler's process used more memory than it may.",
        ),
    ],
)
def test_a_scheduler_that_ends_ends_its_cluster_at_once(
    cluster: Cluster, processes: dict[str, ProcessStatus], reason: EndReason, message: str
) -> None:
    assert decide(cluster, processes=processes).actions == (FetchLogTail(SCHEDULER),)
    decision = decide(cluster, processes=processes, log_tail={SCHEDULER: ""})
    assert decision.actions == ()
    assert decision.status.phase is Phase.FAILED
    assert (decision.status.reason, decision.status.message) == (reason, message)
    assert decision.status.ended == 110.0
    assert decision.status.conditions == ()
    assert [event.type for event in decision.events][-2:] == ["Failing", "Failed"]


def test_a_log_tail_is_cut_to_whole_lines() -> None:
    tails = {"short\n": "short\n", "first line\nsecond line\n": "second line\n", "é" * 30: "é" * 10}
    for log, kept in tails.items():
        assert decide(STARTING, processes=exited(), log_tail={SCHEDULER: log}).status.log_tail == kept


def test_a_scheduler_that_stops_answering_is_a_condition_first() -> None:
    told = decide(RUNNING, routed=True).status
    away = decide(replace(AWAY, status=told), 201.0, routed=True)
    assert away.status.phase is Phase.RUNNING
    assert conditions(away)["Reachable"] == (False, "AgentAway")
    assert [event.type for event in away.events] == ["SchedulerUnreachable"]
    assert away.look_again == 230.0

    back = decide(replace(RUNNING, status=away.status), 215.0, routed=True)
    assert conditions(back)["Reachable"] == (True, "")
    assert [event.type for event in back.events] == ["SchedulerReachable"]
    assert (back.status.message, back.look_again) == ("", None)

    lost = decide(replace(AWAY, status=away.status), 230.0, log_tail={SCHEDULER: "x"})
    assert lost.status.reason is EndReason.SCHEDULER_LOST
    assert lost.status.message == "The scheduler has not answered for 30 s."


def test_an_agent_whose_replica_is_gone_is_away_from_then_on() -> None:
    told = decide(RUNNING, routed=True).status
    missed = decide(replace(RUNNING, status=told), 200.0, routed=True, holder_gone_from=202.0)
    assert (missed.status, missed.look_again) == (told, 202.0)

    away = decide(replace(RUNNING, status=told), 202.0, routed=True, holder_gone_from=202.0)
    assert conditions(away)["Reachable"] == (False, "AgentAway")
    assert [event.type for event in away.events] == ["SchedulerUnreachable"]
    assert away.look_again == 207.0  # whether the replica is back

    gone = replace(RUNNING, status=away.status)
    assert decide(gone, 231.9, holder_gone_from=202.0).look_again == 232.0
    assert decide(gone, 232.0, holder_gone_from=202.0).actions == (FetchLogTail(SCHEDULER),)
    assert decide(gone, 232.0, holder_gone_from=202.0, watching_since=220.0).actions == ()
    assert conditions(decide(gone, 232.0, routed=True))["Reachable"] == (True, "")  # it was back in time
    assert decide(AWAY, 230.0, holder_gone_from=202.0).actions == (FetchLogTail(SCHEDULER),)  # it had said so before


def test_a_cluster_that_lost_its_route_runs_on() -> None:
    decision = decide(RUNNING, routed=False)
    assert decision.status.phase is Phase.RUNNING
    assert conditions(decision)["Routed"] == (False, "RoutePending")


def test_a_queued_cluster_waits() -> None:
    queued = replace(NEW, status=Status(phase=Phase.QUEUED))
    assert decide(queued, processes={}) == Decision(status=Status(phase=Phase.QUEUED, observed_generation=1))
