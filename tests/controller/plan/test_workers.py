"""Workers: as many as wanted, replaced when they fail, closed only when retired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.controller.builders import (
    NOW,
    WORKER_ADDRESS,
    exited_process,
    process,
    running_cluster,
    running_worker,
    worker,
)
from tests.controller.plan.deciding import decide, messages, states

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause
from headrace_controller.backends.process import SCHEDULER, ProcessState
from headrace_controller.model import (
    AdaptRange,
    Backoff,
    Cluster,
    Exit,
    Group,
    Phase,
    WorkerId,
    WorkerRecord,
    WorkerState,
)
from headrace_controller.plan import Policy, RouteState, StartProcesses, StopProcesses

POLICY = Policy(worker_start_timeout=20, ended_workers_kept=3)


def cluster(*workers: WorkerRecord, size: int = 0, **parts: Any) -> Cluster:
    return running_cluster(*workers, groups=[Group(size=size)], **parts)


def test_missing_workers_are_launched_with_one_event() -> None:
    decision = decide(cluster(running_worker(), size=4), policy=POLICY)
    assert decision.actions == (StartProcesses(("default-2", "default-3", "default-4")),)
    assert decision.status.workers_made == 4
    assert [(event.type, event.message) for event in decision.events] == [
        (EventType.WORKERS_STARTING, "Starting 3 workers.")
    ]
    assert decision.workers[WorkerId("default-2")] == WorkerRecord(
        id=WorkerId("default-2"), group="default", created=NOW, since=NOW
    )
    ready = next(c for c in decision.status.conditions if c.type is ConditionType.WORKERS_READY)
    assert (ready.status, ready.reason, ready.message) == (ConditionStatus.FALSE, "Scaling", "1 of 4 workers run.")
    assert decision.requeue_at == NOW + 20


@pytest.mark.parametrize("report", [{"scheduler_address": ""}, {"connected": False, "changed": NOW}])
def test_workers_wait_until_their_scheduler_can_be_found(report: dict[str, Any]) -> None:
    decision = decide(cluster(size=2, report=report))
    assert decision.actions == ()
    assert decision.workers == {}


def test_workers_start_before_the_route_is_there() -> None:
    starting = cluster(size=1, status={"phase": Phase.STARTING, "scheduler_created": NOW, "started": None})
    decision = decide(starting, route=RouteState())
    assert decision.status.phase is Phase.STARTING
    assert decision.actions == (StartProcesses(("default-1",)),)


def test_a_launch_that_was_not_carried_out_is_repeated() -> None:
    decision = decide(cluster(worker("default-1"), worker("default-2"), size=2), process(), process("default-1"))
    assert decision.actions == (StartProcesses(("default-2",)),)


@pytest.mark.parametrize(("targets", "wanted"), [({}, 3), ({"default": 5}, 5), ({"default": 0}, 0), ({"other": 1}, 3)])
def test_an_adaptive_group_has_what_adaptive_scaling_asked_for(targets: dict[str, int], wanted: int) -> None:
    groups = [Group(size=3, adapt=AdaptRange(minimum=0))]
    assert len(decide(running_cluster(groups=groups, targets=targets)).workers) == wanted
    fixed = running_cluster(groups=[Group(size=3)], targets=targets)  # adaptive scaling has ended
    assert len(decide(fixed).workers) == 3


def test_workers_that_join_run() -> None:
    workers = [worker("default-1"), worker("default-2"), worker("default-3")]
    joined = {WorkerId("default-1"): WORKER_ADDRESS, WorkerId("default-2"): WORKER_ADDRESS}
    backoffs = {"default": Backoff(failures=2, retry_at=1010.0)}
    decision = decide(cluster(*workers, size=3, report={"joined": joined}, status={"backoffs": backoffs}))
    assert states(decision)["default-1"] is WorkerState.RUNNING
    assert decision.workers[WorkerId("default-1")] == running_worker(since=NOW)
    assert messages(decision, EventType.WORKERS_JOINED) == ["2 workers joined; 2 of 3 run."]
    assert decision.status.backoffs == {}


def test_a_worker_that_joins_with_another_address_has_that_one() -> None:
    decision = decide(cluster(running_worker(), size=1, report={"joined": {WorkerId("default-1"): "tls://10.0.0.9:1"}}))
    assert decision.workers[WorkerId("default-1")] == running_worker(address="tls://10.0.0.9:1")
    assert decision.actions == ()


def test_the_newest_pending_are_closed_first_and_running_ones_never() -> None:
    workers = (
        running_worker("default-1"),
        running_worker("default-2"),
        worker("default-3"),
        worker("default-4"),
        worker("default-5", joined=True),
    )
    decision = decide(cluster(*workers, size=3))
    assert states(decision) == {
        "default-1": WorkerState.RUNNING,
        "default-2": WorkerState.RUNNING,
        "default-3": WorkerState.CLOSED,
        "default-4": WorkerState.CLOSED,
        "default-5": WorkerState.PENDING,
    }
    assert decision.workers[WorkerId("default-4")].message == "Closed because fewer workers are wanted."
    assert decision.actions == (StopProcesses(("default-4", "default-3")),)
    assert decide(cluster(running_worker("default-1"), running_worker("default-2"), size=0)).actions == ()


def test_a_retired_worker_is_closed() -> None:
    asked = replace(running_worker("default-2"), state=WorkerState.RETIRING)
    retired = {"retired": frozenset({WorkerId("default-2")})}
    decision = decide(cluster(running_worker("default-1"), asked, size=1, report=retired))
    assert states(decision)["default-2"] is WorkerState.CLOSED
    assert decision.actions == (StopProcesses(("default-2",)),)
    assert [event.message for event in decision.events] == [
        "Worker default-2 has ended. Its data has moved to other workers."
    ]


def test_a_retired_worker_is_replaced_if_it_is_wanted_again() -> None:
    retired = {"retired": frozenset({WorkerId("default-2")})}
    decision = decide(cluster(running_worker("default-1"), running_worker("default-2"), size=2, report=retired))
    assert decision.actions == (StartProcesses(("default-3",)), StopProcesses(("default-2",)))


def test_a_worker_that_left_waits_for_its_nanny() -> None:
    decision = decide(cluster(running_worker(), size=1, report={"joined": {}}), policy=POLICY)
    left = decision.workers[WorkerId("default-1")]
    assert (left.state, left.since, left.joined) == (WorkerState.PENDING, NOW, True)
    assert decision.actions == ()

    late = decide(cluster(left, size=1), now=NOW + 20, policy=POLICY)
    assert states(late) == {"default-1": WorkerState.FAILED, "default-2": WorkerState.PENDING}
    assert late.status.backoffs == {}
    assert messages(late, EventType.WORKERS_FAILED) == [
        "Worker default-1 failed to start. It did not join the scheduler within 20 s."
    ]


@pytest.mark.parametrize(
    ("code", "state"), [(-9, WorkerState.FAILED), (1, WorkerState.FAILED), (0, WorkerState.CLOSED)]
)
def test_a_worker_whose_process_exited_is_replaced_at_once(code: int, state: WorkerState) -> None:
    decision = decide(cluster(running_worker(), size=1), process(), exited_process("default-1", code))
    assert states(decision) == {"default-1": state, "default-2": WorkerState.PENDING}
    assert decision.actions == (StartProcesses(("default-2",)),)
    assert decision.status.backoffs == {}


def test_a_restarted_worker_that_exits_as_intended_is_closed() -> None:
    decision = decide(cluster(worker(joined=True), size=0), process(), exited_process("default-1", 0))
    assert messages(decision, EventType.WORKERS_CLOSED) == [
        "Worker default-1 has ended. Its process ended with exit code 0."
    ]


def test_a_worker_that_left_and_whose_process_is_unknown_is_replaced() -> None:
    decision = decide(cluster(running_worker(), size=1, report={"joined": {}}), process())
    assert states(decision) == {"default-1": WorkerState.FAILED, "default-2": WorkerState.PENDING}


def test_a_worker_that_the_scheduler_has_runs_whatever_the_backend_forgot() -> None:
    decision = decide(cluster(running_worker(), size=1), process())
    assert states(decision) == {"default-1": WorkerState.RUNNING}
    assert decision.actions == ()


def test_nothing_is_known_of_workers_while_the_agent_is_away() -> None:
    away = {"connected": False, "changed": 999.0, "joined": {}}
    decision = decide(cluster(running_worker(), worker("default-2", since=0.0), size=4, report=away))
    assert states(decision) == {"default-1": WorkerState.RUNNING, "default-2": WorkerState.PENDING}
    assert decision.actions == ()


@pytest.mark.parametrize("watching_since", [995.0, 0.0])
def test_a_worker_that_does_not_join_in_time_fails(watching_since: float) -> None:
    counts_from = max(watching_since, 990.0)
    waiting = cluster(running_worker("default-1"), worker("default-2"), size=2)
    early = decide(waiting, now=counts_from + 19, policy=POLICY, watching_since=watching_since)
    assert early.requeue_at == counts_from + 20
    late = decide(waiting, now=counts_from + 20, policy=POLICY, watching_since=watching_since)
    assert states(late)["default-2"] is WorkerState.FAILED
    assert late.actions == (StopProcesses(("default-2",)),)
    assert late.status.backoffs["default"].failures == 1
    assert late.requeue_at == late.status.backoffs["default"].retry_at == counts_from + 20.5


def test_time_counts_from_the_start_of_the_process() -> None:
    waiting = cluster(worker(), size=1)
    decision = decide(waiting, process(), process("default-1", runs_since=998.0), policy=POLICY)
    assert decision.requeue_at == 998.0 + 20


def test_a_worker_without_room_waits() -> None:
    queued = process("default-1", ProcessState.PENDING, message="3 jobs before it")
    decision = decide(cluster(worker(since=0.0), size=1), process(), queued)
    record = decision.workers[WorkerId("default-1")]
    assert record.message == "3 jobs before it"
    assert decision.requeue_at is None

    again = decide(cluster(record, size=1), process(), queued)
    assert again.workers[WorkerId("default-1")] is record
    runs = decide(cluster(record, size=1), process(), process("default-1", runs_since=NOW))
    assert runs.workers[WorkerId("default-1")].message == ""
    silent = decide(cluster(worker(), size=1), process(), process("default-1", ProcessState.PENDING))
    assert silent.workers[WorkerId("default-1")].message == "Waiting for room."


def test_processes_that_no_record_wants_are_stopped() -> None:
    closed = worker("default-2", WorkerState.CLOSED)
    processes = [process(name) for name in (SCHEDULER, "default-1", "default-2", "stranger")]
    decision = decide(cluster(running_worker(), closed, size=1), *processes, exited_process("gone"))
    assert decision.actions == (StopProcesses(("default-2", "stranger")),)


def test_a_worker_recorded_as_retiring_is_what_the_scheduler_reports() -> None:
    retiring = worker(state=WorkerState.RETIRING, joined=True)
    assert states(decide(cluster(retiring, size=1)))["default-1"] is WorkerState.PENDING
    joined = {"joined": {WorkerId("default-1"): WORKER_ADDRESS}}
    assert states(decide(cluster(retiring, size=1, report=joined)))["default-1"] is WorkerState.RUNNING


def test_only_the_last_ended_workers_are_kept() -> None:
    ended = [worker(f"default-{n}", WorkerState.CLOSED) for n in range(1, 7)]
    decision = decide(cluster(*ended, running_worker("default-7"), size=1), policy=POLICY)
    assert list(decision.workers) == ["default-4", "default-5", "default-6", "default-7"]


def test_each_group_has_its_own_workers() -> None:
    workers = running_worker("default-1"), running_worker("gpu-2"), worker("gpu-3")
    groups = [Group(size=2), Group(name="gpu", size=1)]
    joined = dict.fromkeys([record.id for record in workers], WORKER_ADDRESS)
    decision = decide(running_cluster(*workers, groups=groups, report={"joined": joined}))
    assert decision.actions == (StartProcesses(("default-4",)),)
    assert [event.message for event in decision.events] == [
        "1 worker of group gpu joined; 2 of 1 run.",
        "Starting 1 worker of group default.",
    ]


def test_workers_of_a_removed_group_are_unwanted() -> None:
    workers = running_worker("default-1"), running_worker("gpu-2"), worker("gpu-3")
    decision = decide(running_cluster(*workers, groups=[Group(size=1)]))
    assert states(decision) == {
        "default-1": WorkerState.RUNNING,
        "gpu-2": WorkerState.RUNNING,  # until its agent has retired it
        "gpu-3": WorkerState.CLOSED,
    }
    assert decision.actions == (StopProcesses(("gpu-3",)),)
    ready = next(c for c in decision.status.conditions if c.type is ConditionType.WORKERS_READY)
    assert (ready.status, ready.message) == (ConditionStatus.FALSE, "2 of 1 worker run.")

    retired = {"retired": frozenset({WorkerId("gpu-2")})}
    decision = decide(running_cluster(*workers[:2], groups=[Group(size=1)], report=retired))
    assert decision.actions == (StopProcesses(("gpu-2",)),)


def test_the_record_names_the_host_and_the_exit_of_the_process() -> None:
    workers = running_worker("default-1"), running_worker("default-2"), worker("default-3", WorkerState.CLOSED)
    exited = exited_process("default-2", -9, ExitCause.OUT_OF_MEMORY, host="node-2")
    stopped = exited_process("default-3", 0, ExitCause.STOPPED)
    state = cluster(*workers, size=1)
    decision = decide(state, process(), process("default-1", host="node-1"), exited, stopped)
    found = {name: (record.host, record.exit) for name, record in decision.workers.items()}
    assert found == {
        "default-1": ("node-1", None),
        "default-2": ("node-2", Exit(cause=ExitCause.OUT_OF_MEMORY, code=-9, time=NOW)),
        "default-3": ("", Exit(cause=ExitCause.STOPPED, code=0, time=NOW)),
    }
    again = decide(replace(state, workers=decision.workers), process(), exited, stopped, now=NOW + 1)
    assert again.workers[WorkerId("default-2")] is decision.workers[WorkerId("default-2")]


def test_a_process_that_exited_for_an_unknown_reason_has_exited() -> None:
    decision = decide(cluster(running_worker()), process(), process("default-1", ProcessState.EXITED))
    exit_ = decision.workers[WorkerId("default-1")].exit
    assert exit_ == Exit(cause=ExitCause.EXITED, code=None, time=NOW)


def test_what_is_settled_is_shared_with_the_record() -> None:
    workers = [running_worker(f"default-{n}") for n in range(1, 4)]
    state = cluster(*workers, size=3)
    settled = replace(state, status=decide(state).status)
    decision = decide(settled)
    assert (decision.actions, decision.events, decision.requeue_at) == ((), (), None)
    assert decision.status is settled.status
    assert decision.workers is settled.workers

    grown = decide(cluster(*workers, size=4))
    assert all(grown.workers[record.id] is record for record in workers)
    assert state.workers == {record.id: record for record in workers}  # the record itself is not changed
