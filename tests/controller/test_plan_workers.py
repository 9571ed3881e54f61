"""Workers: as many as wanted, replaced when they fail, closed only when retired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headrace_controller.backends.base import SCHEDULER, ExitCause, ProcessKey, ProcessState, ProcessStatus, Role
from headrace_controller.model import (
    AdaptRange,
    Backoff,
    Cluster,
    ClusterId,
    Condition,
    EndReason,
    Group,
    Phase,
    Report,
    Severity,
    Spec,
    Status,
    UserId,
    WorkerId,
    WorkerRecord,
    WorkerState,
)
from headrace_controller.plan import Decision, FetchLogTail, Policy, Seen, StartProcesses, StopAll, StopProcesses, plan

POLICY = Policy(
    worker_start_timeout=20, worker_failure_limit=3, retry_first=0.5, retry_longest=2.0, ended_workers_kept=3
)
NOW = 1000.0
ADDRESS = "tls://127.0.0.1:2"


def worker(n: int, state: WorkerState = WorkerState.PENDING, group: str = "default", **facts: Any) -> WorkerRecord:
    joined = state is WorkerState.RUNNING
    record = WorkerRecord(
        id=WorkerId(f"{group}-{n}"),
        group=group,
        state=state,
        joined=joined,
        address=ADDRESS if joined else "",
        created=990.0,
        since=990.0,
    )
    return replace(record, **facts)


def running(n: int, group: str = "default") -> WorkerRecord:
    return worker(n, WorkerState.RUNNING, group)


def backoff(failures: int, retry_at: float, group: str = "default") -> dict[str, Backoff]:
    return {group: Backoff(failures=failures, retry_at=retry_at)}


def cluster(
    *workers: WorkerRecord, size: int | Group = 0, report: dict[str, Any] | None = None, **status: Any
) -> Cluster:
    group = Group(size=size) if isinstance(size, int) else size
    joined = {w.id: ADDRESS for w in workers if w.state is WorkerState.RUNNING}
    reported: dict[str, Any] = {
        "joined": joined,
        "connected": True,
        "changed": 901.0,
        "scheduler_address": "tls://127.0.0.1:1",
        **(report or {}),
    }
    facts: dict[str, Any] = {"workers_made": len(workers), **status}
    return Cluster(
        id=ClusterId("c1"),
        owner=UserId("ann"),
        created=900.0,
        spec=Spec(groups=(group,)),
        report=Report(session=1, **reported),
        status=Status(
            phase=Phase.RUNNING,
            started=902.0,
            conditions=(Condition(type="Reachable", holds=True, changed=901.0),),
            observed_generation=1,
            workers={w.id: w for w in workers},
            **facts,
        ),
    )


def decide(
    cluster: Cluster,
    *,
    exited: dict[str, int] | None = None,
    pending: tuple[str, ...] = (),
    gone: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    now: float = NOW,
    watching_since: float = 0.0,
    log_tail: dict[str, str] | None = None,
) -> Decision:
    """Plans with a process for each worker that has not ended, but as said."""
    alive = [w.id for w in cluster.status.workers.values() if not w.state.ended and w.id not in gone]
    processes = {name: process(name) for name in (SCHEDULER, *alive, *extra)}
    processes |= {name: process(name, ProcessState.PENDING, message="waits in the queue") for name in pending}
    for name, code in (exited or {}).items():
        processes[name] = process(name, ProcessState.EXITED, exit_code=code, cause=ExitCause.EXITED)
    seen = Seen(processes=processes, routed=True, watching_since=watching_since, log_tail=log_tail or {})
    return plan(cluster, seen, now, POLICY, lambda group, n: WorkerId(f"{group}-{n}"))


def process(name: str, state: ProcessState = ProcessState.RUNNING, **facts: Any) -> ProcessStatus:
    role = Role.SCHEDULER if name == SCHEDULER else Role.WORKER
    return ProcessStatus(key=ProcessKey("c1", name), role=role, generation=1, state=state, **facts)


def states(decision: Decision) -> dict[str, WorkerState]:
    return {name: worker.state for name, worker in decision.status.workers.items()}


def kinds(decision: Decision) -> list[str]:
    return [event.type for event in decision.events]


def test_missing_workers_are_started_with_one_event() -> None:
    decision = decide(cluster(running(1), size=4))
    assert decision.actions == (StartProcesses(("default-2", "default-3", "default-4")),)
    assert decision.status.workers_made == 4
    assert [(event.type, event.message) for event in decision.events] == [("WorkersStarting", "Starting 3 workers.")]
    assert decision.status.workers[WorkerId("default-2")] == WorkerRecord(
        id=WorkerId("default-2"), group="default", created=NOW, since=NOW
    )
    ready = next(condition for condition in decision.status.conditions if condition.type == "WorkersReady")
    assert (ready.holds, ready.message) == (False, "1 of 4 workers run.")
    assert decision.look_again == NOW + 20


def test_workers_wait_until_their_scheduler_can_be_found() -> None:
    for report in ({"scheduler_address": ""}, {"connected": False, "changed": NOW}):
        decision = decide(cluster(size=2, report=report))
        assert decision.actions == ()
        assert decision.status.workers == {}


def test_workers_start_before_the_route_is_there() -> None:
    starting = cluster(size=1, scheduler_created=NOW)
    starting = replace(starting, status=replace(starting.status, phase=Phase.STARTING))
    seen = Seen(processes={SCHEDULER: process(SCHEDULER)}, routed=False)
    decision = plan(starting, seen, NOW, POLICY, lambda group, n: WorkerId(f"{group}-{n}"))
    assert decision.status.phase is Phase.STARTING
    assert decision.actions == (StartProcesses(("default-1",)),)


def test_a_start_that_was_not_carried_out_is_repeated() -> None:
    decision = decide(cluster(worker(1), worker(2), size=2), gone=("default-2",))
    assert decision.actions == (StartProcesses(("default-2",)),)


def test_a_group_of_an_adapt_range_has_what_is_asked_within_it() -> None:
    for size, wanted in ((0, 2), (3, 3), (9, 4)):
        group = Group(size=size, adapt=AdaptRange(minimum=2, maximum=4))
        assert len(decide(cluster(size=group)).status.workers) == wanted


def test_workers_that_join_run() -> None:
    names = [WorkerId(f"default-{n}") for n in (1, 2)]
    pending = cluster(worker(1), worker(2), worker(3), size=3, backoffs=backoff(2, 1010.0))
    decision = decide(replace(pending, report=replace(pending.report, joined=dict.fromkeys(names, ADDRESS))))
    assert states(decision)["default-1"] is WorkerState.RUNNING
    assert decision.status.workers[names[0]] == replace(running(1), since=NOW)
    assert [(event.type, event.message) for event in decision.events] == [("WorkersJoined", "Now 2 of 3 workers.")]
    assert decision.status.backoffs == {}


def test_the_newest_pending_are_closed_first_and_running_ones_never() -> None:
    decision = decide(cluster(running(1), running(2), worker(3), worker(4), worker(5, joined=True), size=3))
    assert states(decision) == {
        "default-1": WorkerState.RUNNING,
        "default-2": WorkerState.RUNNING,
        "default-3": WorkerState.CLOSED,
        "default-4": WorkerState.CLOSED,
        "default-5": WorkerState.PENDING,
    }
    assert decision.actions == (StopProcesses(("default-3", "default-4")),)
    assert decide(cluster(running(1), running(2), size=0)).actions == ()


def test_a_retired_worker_is_closed() -> None:
    decision = decide(cluster(running(1), running(2), size=1, report={"retired": frozenset({WorkerId("default-2")})}))
    assert states(decision)["default-2"] is WorkerState.CLOSED
    assert decision.actions == (StopProcesses(("default-2",)),)
    assert kinds(decision) == ["WorkersClosed"]


def test_a_retired_worker_is_replaced_if_it_is_wanted_again() -> None:
    decision = decide(cluster(running(1), running(2), size=2, report={"retired": frozenset({WorkerId("default-2")})}))
    assert decision.actions == (StartProcesses(("default-3",)), StopProcesses(("default-2",)))


def test_a_worker_that_left_waits_for_its_nanny() -> None:
    decision = decide(cluster(running(1), size=1, report={"joined": {}}))
    left = decision.status.workers[WorkerId("default-1")]
    assert (left.state, left.since, left.joined) == (WorkerState.PENDING, NOW, True)
    assert decision.actions == ()
    assert [(event.type, event.severity) for event in decision.events] == [("WorkerLost", Severity.WARNING)]
    assert decision.look_again == NOW + 20

    late = decide(replace(cluster(left, size=1), report=cluster(size=1).report), now=NOW + 20)
    assert states(late) == {"default-1": WorkerState.FAILED, "default-2": WorkerState.PENDING}
    assert late.status.backoffs == {}


@pytest.mark.parametrize(
    ("code", "state"), [(-9, WorkerState.FAILED), (1, WorkerState.FAILED), (0, WorkerState.CLOSED)]
)
def test_a_worker_whose_process_ended_is_replaced_at_once(code: int, state: WorkerState) -> None:
    decision = decide(cluster(running(1), size=1), exited={"default-1": code})
    assert states(decision) == {"default-1": state, "default-2": WorkerState.PENDING}
    assert decision.actions == (StartProcesses(("default-2",)),)
    assert decision.status.backoffs == {}


def test_a_worker_that_left_and_whose_process_is_unknown_is_replaced() -> None:
    decision = decide(cluster(running(1), size=1, report={"joined": {}}), gone=("default-1",))
    assert states(decision) == {"default-1": WorkerState.FAILED, "default-2": WorkerState.PENDING}


def test_a_worker_that_the_scheduler_has_runs_whatever_the_backend_forgot() -> None:
    decision = decide(cluster(running(1), size=1), gone=("default-1",))
    assert states(decision) == {"default-1": WorkerState.RUNNING}
    assert decision.actions == ()


def test_nothing_is_known_of_workers_while_the_agent_is_away() -> None:
    away = {"connected": False, "changed": 999.0, "joined": {}}
    decision = decide(cluster(running(1), worker(2, since=0.0), size=4, report=away))
    assert states(decision) == {"default-1": WorkerState.RUNNING, "default-2": WorkerState.PENDING}
    assert decision.actions == ()


@pytest.mark.parametrize("watching_since", [995.0, 0.0])
def test_a_worker_that_does_not_join_in_time_fails(watching_since: float) -> None:
    counts_from = max(watching_since, 990.0)
    waiting = cluster(running(1), worker(2), size=2)
    assert decide(waiting, now=counts_from + 19, watching_since=watching_since).look_again == counts_from + 20
    late = decide(waiting, now=counts_from + 20, watching_since=watching_since)
    assert states(late)["default-2"] is WorkerState.FAILED
    assert late.actions == (StopProcesses(("default-2",)),)
    assert late.status.backoffs["default"].failures == 1
    assert late.look_again == late.status.backoffs["default"].retry_at == counts_from + 20.5


def test_a_worker_for_which_there_is_no_room_waits() -> None:
    decision = decide(cluster(worker(1, since=0.0), size=1), pending=("default-1",))
    assert decision.status.workers[WorkerId("default-1")].message == "waits in the queue"
    assert decision.look_again is None


def test_starts_that_fail_are_repeated_with_growing_delays() -> None:
    state = cluster(running(1), worker(2), worker(3), size=3)
    now, delays = NOW, list[float]()
    for _ in range(4):
        pending = [name for name, w in state.status.workers.items() if w.state is WorkerState.PENDING]
        failed = decide(state, exited=dict.fromkeys(pending, 3), now=now)
        assert failed.actions == ()
        assert kinds(failed) == ["WorkerFailed"]
        retry_at = failed.status.backoffs["default"].retry_at
        delays.append(retry_at - now)
        now = retry_at
        again = decide(replace(state, status=failed.status), now=now)
        assert kinds(again) == ["WorkersStarting"]
        state = replace(state, status=again.status)
    assert delays == [0.5, 1.0, 2.0, 2.0]
    assert state.status.backoffs["default"].failures == 4
    assert state.status.phase is Phase.RUNNING  # one worker runs


def test_a_straggler_of_a_failed_start_does_not_count_again() -> None:
    state = cluster(running(1), worker(2), size=2, backoffs=backoff(1, 999.0))
    decision = decide(state, exited={"default-2": 1})
    assert decision.status.backoffs == backoff(1, 999.0)
    assert decision.actions == (StartProcesses(("default-3",)),)


def test_a_new_wish_is_tried_at_once() -> None:
    state = replace(cluster(size=1, backoffs=backoff(2, NOW + 30)), generation=2)
    assert decide(state).actions == (StartProcesses(("default-1",)),)


def test_workers_that_never_start_end_their_cluster() -> None:
    state = cluster(worker(1), worker(2), size=2, backoffs=backoff(2, 980.0))
    exits = {"default-1": 1, "default-2": 1}
    assert decide(state, exited=exits).actions == (FetchLogTail("default-2"),)
    decision = decide(state, exited=exits, log_tail={"default-2": "no such module\n"})
    assert decision.actions == (StopAll(),)
    assert decision.status.phase is Phase.STOPPING
    assert decision.status.reason is EndReason.WORKERS_FAILED
    assert decision.status.message == (
        "Workers failed to start 3 times in a row. The last: Its process ended with exit code 1."
    )
    assert decision.status.log_tail == "no such module\n"
    assert kinds(decision) == ["WorkerFailed", "Failing"]
    assert decision.events[0].message.startswith("2 workers, such as default-1: ")


def test_processes_that_no_record_wants_are_stopped() -> None:
    closed = worker(2, WorkerState.CLOSED)
    decision = decide(cluster(running(1), closed, size=1), extra=("default-2", "stranger"))
    assert decision.actions == (StopProcesses(("default-2", "stranger")),)


def test_a_worker_said_to_be_retiring_goes_on_as_the_scheduler_says() -> None:
    assert states(decide(cluster(worker(1, WorkerState.RETIRING), size=1)))["default-1"] is WorkerState.PENDING


def test_only_the_last_ended_workers_are_remembered() -> None:
    ended = [worker(n, WorkerState.CLOSED) for n in range(1, 7)]
    decision = decide(cluster(*ended, running(7), size=1))
    assert list(decision.status.workers) == ["default-4", "default-5", "default-6", "default-7"]


def test_each_group_has_its_own_workers() -> None:
    state = cluster(running(1), running(2, "gpu"), worker(3, group="gpu"))
    groups = (Group(size=2), Group(name="gpu", size=1))
    report = replace(state.report, joined={**state.report.joined, WorkerId("gpu-3"): ADDRESS})
    decision = decide(replace(state, spec=Spec(groups=groups), report=report))
    assert decision.actions == (StartProcesses(("default-4",)),)
    assert [event.message for event in decision.events] == [
        "Now 2 of 1 worker of group gpu.",
        "Starting 1 worker of group default.",
    ]
