"""Launches that fail: each group pauses by itself, and a condition tells what cannot start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.controller.builders import (
    NOW,
    WORKER_ADDRESS,
    exited_process,
    new_cluster,
    process,
    running_cluster,
    running_worker,
    worker,
)
from tests.controller.plan.deciding import decide, kinds, messages

from headrace.v1.enums import ConditionStatus, ConditionType, EventType, ExitCause
from headrace_controller.backends.process import ProcessState, ProcessStatus
from headrace_controller.model import (
    Backoff,
    Cluster,
    Condition,
    EndReason,
    Group,
    Phase,
    Severity,
    WorkerId,
    WorkerRecord,
    WorkerState,
)
from headrace_controller.plan import Decision, FetchLogTail, Policy, StartError, StartProcesses, StopAll

POLICY = Policy(worker_start_timeout=20, worker_failure_limit=2, retry_first=0.5, retry_longest=2.0)
NO_GPU = {"gpu": StartError("no GPU is left", NOW + 5)}


def cluster(*workers: WorkerRecord, cpu: int = 1, gpu: int = 1, **status: Any) -> Cluster:
    groups = [Group(name="gpu", size=gpu), Group(name="cpu", size=cpu)]
    return running_cluster(*workers, groups=groups, status=status)


def failures(group: str, failures: int = 1, retry_at: float = NOW + 30) -> dict[str, Backoff]:
    message = "Its process ended with exit code 1."
    return {group: Backoff(failures=failures, retry_at=retry_at, message=message)}


def failed(name: str, message: str = "") -> ProcessStatus:
    return exited_process(name, 127, ExitCause.START_FAILED, message=message)


def startable(decision: Decision) -> Condition | None:
    return next((c for c in decision.status.conditions if c.type is ConditionType.STARTABLE), None)


def after(decision: Decision, before: Cluster) -> Cluster:
    return replace(before, status=decision.status, workers=decision.workers)


def is_startable(since: float) -> Condition:
    return Condition(type=ConditionType.STARTABLE, status=ConditionStatus.TRUE, changed=since, observed_generation=1)


def not_startable(reason: str, message: str) -> Condition:
    return Condition(
        type=ConditionType.STARTABLE,
        status=ConditionStatus.FALSE,
        reason=reason,
        message=message,
        changed=NOW,
        observed_generation=1,
    )


def test_a_group_that_fails_does_not_delay_the_others() -> None:
    state = cluster(backoffs=failures("gpu"))
    decision = decide(state, policy=POLICY)
    assert decision.actions == (StartProcesses(("cpu-1",)),)
    state = after(decision, state)
    assert decide(state, policy=POLICY).requeue_at == NOW + 20  # for the one that is to join
    later = decide(state, now=NOW + 30, policy=POLICY)
    assert StartProcesses(("gpu-2",)) in later.actions


def test_each_group_counts_its_own_failures() -> None:
    both = cluster(worker("gpu-1"), worker("cpu-2"), backoffs=failures("cpu", 3, 980.0))
    decision = decide(both, process(), failed("gpu-1"), process("cpu-2"), policy=POLICY)
    assert {group: backoff.failures for group, backoff in decision.status.backoffs.items()} == {"cpu": 3, "gpu": 1}
    assert decision.status.backoffs["gpu"].retry_at == NOW + POLICY.retry_first


def test_pauses_grow_with_each_failure() -> None:
    state = running_cluster(
        running_worker("default-1"), worker("default-2"), worker("default-3"), groups=[Group(size=3)]
    )
    now, pauses = NOW, list[float]()
    for _ in range(4):
        running = WorkerState.RUNNING
        table = [process(w.id) if w.state is running else exited_process(w.id) for w in state.workers.values()]
        failure = decide(state, process(), *table, now=now, policy=POLICY)
        assert failure.actions == ()
        assert kinds(failure) == [EventType.WORKERS_FAILED]
        retry_at = failure.status.backoffs["default"].retry_at
        pauses.append(retry_at - now)
        now = retry_at
        state = after(failure, state)
        again = decide(state, now=now, policy=POLICY)
        assert kinds(again) == [EventType.WORKERS_STARTING]
        state = after(again, state)
    assert pauses == [0.5, 1.0, 2.0, 2.0]
    assert state.status.backoffs["default"].failures == 4
    assert state.status.phase is Phase.RUNNING  # one worker runs


def test_a_straggler_of_a_failed_launch_does_not_count_again() -> None:
    state = cluster(running_worker("gpu-1"), worker("cpu-2"), backoffs=failures("cpu", 1, 999.0))
    decision = decide(state, process(), process("gpu-1"), failed("cpu-2"), policy=POLICY)
    assert decision.status.backoffs == failures("cpu", 1, 999.0)
    assert decision.actions == (StartProcesses(("cpu-3",)),)


def test_a_change_of_the_spec_is_tried_at_once() -> None:
    state = replace(cluster(backoffs=failures("gpu", 2) | failures("removed")), generation=2)
    decision = decide(state, policy=POLICY)
    assert decision.actions == (StartProcesses(("gpu-1",)), StartProcesses(("cpu-2",)))
    assert decision.status.backoffs == failures("gpu", 2, 0.0)


def test_a_worker_that_joins_resets_its_own_group_only() -> None:
    state = cluster(worker("cpu-1"), backoffs=failures("gpu") | failures("cpu"))
    state = replace(state, report=replace(state.report, joined={WorkerId("cpu-1"): WORKER_ADDRESS}))
    decision = decide(state, policy=POLICY)
    assert decision.status.backoffs == failures("gpu")
    assert decision.actions == ()


def test_a_cluster_is_given_up_only_when_every_group_has_failed_too_often() -> None:
    exits = failed("gpu-1")
    one_waits = cluster(worker("gpu-1"), worker("cpu-2"), backoffs=failures("gpu", 5, 980.0))
    assert decide(one_waits, process(), exits, process("cpu-2"), policy=POLICY).status.phase is Phase.RUNNING
    all_failed = cluster(worker("gpu-1"), backoffs=failures("gpu", 5, 980.0) | failures("cpu", 2))
    assert decide(all_failed, process(), exits, policy=POLICY).actions == (FetchLogTail("gpu-1"),)
    unwanted = cluster(worker("gpu-1"), cpu=0, backoffs=failures("gpu", 1, 980.0))
    assert decide(unwanted, process(), exits, policy=POLICY).actions == (FetchLogTail("gpu-1"),)
    nothing_wanted = cluster(worker("gpu-1"), cpu=0, gpu=0, backoffs=failures("gpu", 5, 980.0))
    assert decide(nothing_wanted, process(), exits, policy=POLICY).status.phase is Phase.RUNNING
    one_runs = cluster(worker("gpu-1"), running_worker("cpu-2"), cpu=2, backoffs=failures("gpu", 5, 980.0))
    assert decide(one_runs, process(), exits, process("cpu-2"), policy=POLICY).status.phase is Phase.RUNNING


def test_a_failure_of_a_removed_group_counts_for_nothing() -> None:
    state = running_cluster(worker("gpu-1"), groups=[Group(name="cpu", size=0)])
    assert decide(state, process(), failed("gpu-1"), policy=POLICY).status.backoffs == {}
    backoffs = failures("cpu", 2)
    others_fail = running_cluster(worker("gpu-1"), groups=[Group(name="cpu", size=1)], status={"backoffs": backoffs})
    assert decide(others_fail, process(), failed("gpu-1"), policy=POLICY).status.phase is Phase.RUNNING


def test_workers_that_never_start_end_their_cluster() -> None:
    state = cluster(worker("gpu-1"), worker("gpu-2"), gpu=2, cpu=0, backoffs=failures("gpu", 1, 980.0))
    exits = [failed("gpu-1"), failed("gpu-2", "no such module")]
    assert decide(state, process(), *exits, policy=POLICY).actions == (FetchLogTail("gpu-2"),)
    decision = decide(state, process(), *exits, policy=POLICY, log_tail={"gpu-2": "no such module\n"})
    assert decision.actions == (StopAll(),)
    assert decision.status.phase is Phase.STOPPING
    assert decision.status.reason is EndReason.WORKERS_FAILED
    assert decision.status.message == (
        "Workers failed to start 2 times in a row. The last failure: its process could not be started (exit code 127): "
        "no such module."
    )
    assert decision.status.log_tail == "no such module\n"
    assert kinds(decision) == [EventType.WORKERS_FAILED, EventType.FAILING]
    assert decision.events[0].message.startswith("2 workers failed to start, such as gpu-1. Its process ")
    assert {w.state for w in decision.workers.values()} == {WorkerState.FAILED}


def test_what_the_backend_refuses_of_one_group_does_not_delay_the_others() -> None:
    state = cluster(worker("gpu-1"), worker("cpu-2"))
    decision = decide(state, process(), policy=POLICY, start_errors=NO_GPU)
    assert decision.actions == (StartProcesses(("cpu-2",)),)
    assert decision.requeue_at == NOW + 5
    again = decide(state, process(), process("cpu-2"), now=NOW + 5, policy=POLICY, start_errors=NO_GPU)
    assert again.actions == (StartProcesses(("gpu-1",)),)


def test_what_the_backend_refuses_is_a_condition_until_it_accepts_the_launch() -> None:
    state = cluster(worker("gpu-1"), running_worker("cpu-2"))
    without = process(), process("cpu-2")
    refused = decide(state, *without, policy=POLICY, start_errors=NO_GPU)
    sentence = "Workers of group gpu cannot be started: no GPU is left."
    condition = not_startable("BackendFailed", sentence)
    assert startable(refused) == condition
    found = [event for event in refused.events if event.type is EventType.BACKEND_FAILED]
    assert [(event.message, event.severity) for event in found] == [(sentence, Severity.WARNING)]

    state = after(refused, state)
    assert decide(state, *without, now=NOW + 1, policy=POLICY, start_errors=NO_GPU).events == ()
    asked_again = decide(state, *without, now=NOW + 5, policy=POLICY)  # by another replica, which knows of no error
    assert asked_again.actions == (StartProcesses(("gpu-1",)),)
    assert startable(asked_again) == condition

    accepted = startable(decide(state, *without, process("gpu-1"), now=NOW + 6, policy=POLICY))
    assert accepted == is_startable(NOW + 6)


def test_an_old_error_does_not_concern_what_runs() -> None:
    state = cluster(running_worker("gpu-1"), running_worker("cpu-2"))
    old = {None: StartError("away", 0.0), "gpu": StartError("away", 0.0)}
    assert startable(decide(state, policy=POLICY, start_errors=old)) == is_startable(NOW)


def test_a_command_that_cannot_be_executed_is_a_condition_until_a_worker_joins() -> None:
    state = cluster(worker("gpu-1"), running_worker("cpu-2"))
    decision = decide(state, process(), failed("gpu-1", "there is no such file"), process("cpu-2"), policy=POLICY)
    sentence = (
        "Workers of group gpu fail to start. The last failure: its process could not be started (exit code 127): "
        "there is no such file."
    )
    condition = not_startable("StartFailed", sentence)
    assert startable(decision) == condition
    assert messages(decision, EventType.BACKEND_FAILED) == []

    state = after(decision, state)
    again = decide(state, now=NOW + 1, policy=POLICY)
    assert again.actions == (StartProcesses(("gpu-3",)),)
    assert startable(again) == condition

    joined = {**state.report.joined, WorkerId("gpu-3"): WORKER_ADDRESS}
    state = replace(after(again, state), report=replace(state.report, joined=joined))
    assert startable(decide(state, now=NOW + 2, policy=POLICY)) == is_startable(NOW + 2)


def test_a_failure_of_workers_that_are_not_wanted_any_more_is_no_condition() -> None:
    state = cluster(running_worker("cpu-1"), gpu=0, backoffs=failures("gpu"))
    assert startable(decide(state, policy=POLICY)) == is_startable(NOW)


def test_nothing_is_known_before_the_first_launch_is_accepted() -> None:
    assert startable(decide(new_cluster("c1"), processes={}, policy=POLICY)) is None


def test_a_scheduler_that_the_backend_refuses_is_a_condition() -> None:
    errors = {None: StartError("the disk is full", NOW + 5)}
    decision = decide(new_cluster("c1"), processes={}, policy=POLICY, now=NOW, start_errors=errors)
    assert startable(decision) == not_startable("BackendFailed", "The scheduler cannot be started: the disk is full.")


def test_a_process_that_waits_for_room_was_accepted() -> None:
    state = cluster(worker("gpu-1"), running_worker("cpu-2"))
    queued = process("gpu-1", ProcessState.PENDING)
    assert startable(decide(state, process(), queued, process("cpu-2"), policy=POLICY)) == is_startable(NOW)
